/** Accuracy and ticks to expect of a threshold. Mirrors `inference.halting.estimated_result`. */

const FRONTIER_PREFIXES = { energy: "energy<", certainty: "certainty>", "certainty.min": "certainty.min>" };

/**
 * Estimate the accuracy and the mean number of ticks of a policy: measured, or interpolated between points of a frontier.
 *
 * @param {import("./metadata.js").HaltingMetadata} halting - Content of `halting.json`.
 * @param {string} policy - Halting policy as text.
 * @returns {{accuracy: number, mean_ticks: number, n: number, split: string} | null} The estimate, rounded; null without one.
 */
export function estimateResult({ policies, frontiers }, policy) {
  for (const { policy: text, record } of policies) {
    const { accuracy, mean_ticks: meanTicks, n } = record;
    if (text !== policy || !isFiniteNumber(accuracy) || !isFiniteNumber(meanTicks) || !n) continue;
    return buildEstimate(accuracy, meanTicks, n, frontiers?.split ?? "calibration");
  }
  for (const [name, prefix] of Object.entries(FRONTIER_PREFIXES)) {
    const points = frontiers?.rules[name];
    if (policy.startsWith(prefix) && points?.length) return interpolate(points, policy.slice(prefix.length), frontiers);
  }
  return null;
}

/** Interpolate between points [mean ticks, accuracy, threshold]; beyond the ends, the nearest point counts. */
function interpolate(points, threshold, { n, split }) {
  const level = Number(threshold);
  if (!threshold.trim() || !Number.isFinite(level)) return null;
  const sorted = [...points].sort((first, second) => first[2] - second[2]);
  const next = sorted.findIndex((point) => point[2] > level);
  if (next <= 0) return buildEstimate(...(next === 0 ? sorted[0] : sorted.at(-1)).slice(0, 2).reverse(), n, split);
  const [before, after] = [sorted[next - 1], sorted[next]];
  const share = (level - before[2]) / (after[2] - before[2]);
  const mix = (index) => before[index] + share * (after[index] - before[index]);
  return buildEstimate(mix(1), mix(0), n, split);
}

function buildEstimate(accuracy, meanTicks, n, split) {
  return { accuracy: Math.round(accuracy * 1e4) / 1e4, mean_ticks: Math.round(meanTicks * 100) / 100, n, split };
}

function isFiniteNumber(value) {
  return typeof value === "number" && Number.isFinite(value);
}
