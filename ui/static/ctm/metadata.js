/** Checked content of `halting.json`. Files from elsewhere may hold anything. Mirrors `ctm.checkpoint.metadata`. */

const MAX_POLICIES = 100;
const MAX_LENGTH = 100_000;
const MAX_FRONTIER_POINTS = 2_000;

/**
 * @typedef {object} HaltingMetadata
 * @property {{kind: string, margin: number, chance: Record<string, number> | null}} energy - Energy head.
 * @property {{name: string, policy: string, record: Record<string, unknown>}[]} policies - Halting policies.
 * @property {string | null} default - Name of the default policy.
 * @property {{temperatures: number[], whole: Record<string, number>, last: Record<string, number> | null} | null} confidence -
 *   Calibrated confidence.
 * @property {{mean: number[], components: number[][], variances: number[], residual_variance: number, threshold: number} | null}
 *   familiarity - Distribution of the features of training inputs.
 * @property {{n: number, split: string, rules: Record<string, number[][]>} | null} frontiers - Points (mean ticks, accuracy,
 *   threshold) of the Pareto frontier of each kind of policy.
 */

/**
 * Check the content of `halting.json`.
 *
 * @param {unknown} values - Parsed JSON; {} for a missing file.
 * @returns {HaltingMetadata} The values that the engine uses, with their defaults.
 * @throws {Error} A value is not what it should be; one sentence names it.
 */
export function readHalting(values) {
  const root = readGroup(values, "halting.json");
  const energy = readGroup(root.energy ?? {}, "energy");
  const policies = Object.entries(readGroup(root.policies ?? {}, "policies"));
  if (policies.length > MAX_POLICIES) fail("policies", `at most ${MAX_POLICIES} are read`);
  return {
    energy: {
      kind: readText(energy.kind ?? "", "energy.kind"),
      margin: readNumber(energy.margin ?? 1, "energy.margin", true),
      chance: energy.chance
        ? readCoefficients(energy.chance, "energy.chance", { energy: 1, certainty: 0, bias: 0 })
        : null,
    },
    policies: policies.map(([name, value]) => {
      const record = readGroup(value, `policies.${name}`);
      return { name, policy: readText(record.policy, `policies.${name}.policy`), record };
    }),
    default: root.default === null || root.default === undefined ? null : readText(root.default, "default"),
    confidence: root.confidence ? readConfidence(root.confidence) : null,
    familiarity: root.familiarity ? readFamiliarity(root.familiarity) : null,
    frontiers: root.frontiers ? readFrontiers(root.frontiers) : null,
  };
}

function readFrontiers(value) {
  const group = readGroup(value, "frontiers");
  const readPoints = (points, where) => {
    if (!Array.isArray(points) || points.length > MAX_FRONTIER_POINTS) fail(where, "a list of points is needed");
    return points.map((point) => readNumbers(point, where));
  };
  const rules = Object.entries(readGroup(group.rules ?? {}, "frontiers.rules"));
  return {
    n: readNumber(group.n, "frontiers.n"),
    split: readText(group.split ?? "calibration", "frontiers.split"),
    rules: Object.fromEntries(rules.map(([name, points]) => [name, readPoints(points, `frontiers.rules.${name}`)])),
  };
}

function readConfidence(value) {
  const { temperatures, whole, last } = readGroup(value, "confidence");
  const defaults = { energy: 0, certainty: 0, log_odds: 1, bias: 0 };
  return {
    temperatures: readNumbers(temperatures, "confidence.temperatures", true),
    whole: readCoefficients(whole, "confidence.whole", defaults),
    last: last ? readCoefficients(last, "confidence.last", defaults) : null,
  };
}

function readFamiliarity(value) {
  const group = readGroup(value, "familiarity");
  const mean = readNumbers(group.mean, "familiarity.mean");
  if (!Array.isArray(group.components)) fail("familiarity.components", "a list of lists is needed");
  const components = group.components.map((row) => readNumbers(row, "familiarity.components"));
  const variances = components.length ? readNumbers(group.variances, "familiarity.variances", true) : [];
  if (components.length !== variances.length || components.some((row) => row.length !== mean.length)) {
    fail("familiarity", "components, variances and mean must have the same number of directions and features");
  }
  return {
    mean,
    components,
    variances,
    residual_variance: readNumber(group.residual_variance, "familiarity.residual_variance", true),
    threshold: readNumber(group.threshold, "familiarity.threshold", true),
  };
}

function readCoefficients(value, where, defaults) {
  const group = readGroup(value, where);
  return Object.fromEntries(
    Object.entries(defaults).map(([name, fallback]) => [name, readNumber(group[name] ?? fallback, `${where}.${name}`)]),
  );
}

function readGroup(value, where) {
  if (!value || typeof value !== "object" || Array.isArray(value)) fail(where, "a group of names and values is needed");
  return value;
}

function readText(value, where) {
  if (typeof value !== "string" || value.length > 500) fail(where, "a text of at most 500 characters is needed");
  return value;
}

function readNumber(value, where, isPositive = false) {
  if (typeof value !== "number" || !Number.isFinite(value) || (isPositive && value <= 0)) {
    fail(where, isPositive ? "a number above 0 is needed" : "a number is needed");
  }
  return value;
}

function readNumbers(value, where, isPositive = false) {
  if (!Array.isArray(value) || !value.length || value.length > MAX_LENGTH) fail(where, "a list of numbers is needed");
  return value.map((entry) => readNumber(entry, where, isPositive));
}

/** Throw the error of a value that is not what it should be. */
function fail(where, problem) {
  throw new Error(`halting.json is not what it should be: \`${where}\`: ${problem}.`);
}
