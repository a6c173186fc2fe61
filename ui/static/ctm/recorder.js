/** Recording of the states of a thought for an inside view, bounded in memory. Mirrors `inference.recorder`. */

const CHANNELS = ["pre_activations", "post_activations", "sync_out", "sync_action", "attention"];
const MAX_BYTES = 16 * 2 ** 20;

/**
 * States of one row at every tick. If a channel does not fit its share of the memory, an evenly spaced selection of its entries is
 * recorded; attention is recorded completely or not at all, because a map with gaps would mislead.
 */
export class Recorder {
  /** @param {number} [maxBytes] - Memory for all channels together, in bytes. */
  constructor(maxBytes = MAX_BYTES) {
    this.maxBytes = maxBytes;
    /** Number of recorded ticks. */
    this.ticks = 0;
    /** Shape of the places that attention covers. */
    this.attentionMapShape = [];
    /** Channel -> indices of the recorded entries. */
    this.indices = new Map();
    this.values = new Map();
  }

  /**
   * Record a tick.
   *
   * @param {import("./engine.js").TickEvent} event - The tick.
   */
  record({ channels, budget, attentionMapShape }) {
    if (!this.ticks) this.#allocate(channels, budget);
    this.attentionMapShape = attentionMapShape;
    for (const [name, indices] of this.indices) {
      const source = channels[name];
      const target = this.values.get(name);
      const start = this.ticks * indices.length;
      for (let entry = 0; entry < indices.length; entry++) target[start + entry] = source[indices[entry]];
    }
    this.ticks++;
  }

  /**
   * Return a channel.
   *
   * @param {string} name - Name of the channel.
   * @returns {{values: Float32Array, width: number} | null} Values of the recorded ticks, (t, width); null if it is not recorded.
   */
  getChannel(name) {
    const width = this.indices.get(name)?.length;
    return width ? { values: this.values.get(name).subarray(0, this.ticks * width), width } : null;
  }

  #allocate(channels, budget) {
    const maxCount = Math.floor(this.maxBytes / CHANNELS.length / budget / Float32Array.BYTES_PER_ELEMENT);
    for (const name of CHANNELS.filter((channel) => channels[channel]?.length)) {
      const count = channels[name].length;
      if (count > maxCount && name === "attention") continue;
      const size = Math.min(count, Math.max(1, maxCount));
      const step = size > 1 ? (count - 1) / (size - 1) : 0;
      this.indices.set(
        name,
        Int32Array.from({ length: size }, (_, index) => Math.round(index * step)),
      );
      this.values.set(name, new Float32Array(size * budget));
    }
  }
}
