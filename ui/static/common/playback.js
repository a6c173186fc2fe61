/** Playing through ticks on a clock. */

/**
 * Return the tick that is due.
 *
 * @param {number} first - The tick that playing began with.
 * @param {number} elapsed - Milliseconds since then.
 * @param {number} interval - Milliseconds a tick.
 * @returns {number} The tick.
 */
export function computeDueTick(first, elapsed, interval) {
  return first + Math.floor(elapsed / interval);
}

const [SLOW_TICK_MS, NORMAL_TICK_MS] = [350, 1000 / 6];
const [MIN_PLAYBACK_MS, SLOW_PLAYBACK_MS, MAX_PLAYBACK_MS] = [1500, 2800, 5000];

/**
 * Return how long each tick is shown at normal speed: long where there are few, and at least 1.5 s for all of them.
 *
 * @param {number} ticks - Ticks to play.
 * @returns {number} Milliseconds a tick; more ticks never take less time in all.
 */
export function computeTickInterval(ticks) {
  const slow = Math.min(SLOW_TICK_MS, SLOW_PLAYBACK_MS / ticks);
  const normal = Math.min(NORMAL_TICK_MS, MAX_PLAYBACK_MS / ticks);
  return Math.max(slow, normal, MIN_PLAYBACK_MS / ticks);
}

/** A clock that shows one tick after the other, in step with the frames of the browser. */
export class Playback {
  #frame = 0;
  #isAlive;

  /** @param {() => boolean} isAlive - Whether the component is still in the page; if not, playing ends silently. */
  constructor(isAlive) {
    this.#isAlive = isAlive;
  }

  /** Whether it plays now. */
  get isRunning() {
    return this.#frame !== 0;
  }

  /**
   * Play from the beginning; what was playing stops.
   *
   * @param {object} options - What to play.
   * @param {number} options.first - The tick to begin with; it is shown at once.
   * @param {number} options.last - The last tick.
   * @param {number} options.interval - Milliseconds a tick.
   * @param {(tick: number) => void} options.onTick - Shows a tick.
   * @param {() => void} options.onEnd - Called once the last tick has had its time.
   */
  start({ first, last, interval, onTick, onEnd }) {
    this.stop();
    let startedAt = null;
    let shown = first;
    const step = (now) => {
      if (!this.#isAlive()) {
        this.stop();
        return;
      }
      startedAt ??= now;
      const due = computeDueTick(first, now - startedAt, interval);
      if (due > last) {
        this.stop();
        onEnd();
        return;
      }
      this.#frame = requestAnimationFrame(step);
      if (due === shown) return;
      shown = due;
      onTick(due);
    };
    this.#frame = requestAnimationFrame(step);
    onTick(first);
  }

  /** Stop where it is. */
  stop() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
  }
}

/**
 * Return whether the visitor asked for less motion.
 *
 * @returns {boolean} Whether animations must be skipped.
 */
export function prefersReducedMotion() {
  return matchMedia("(prefers-reduced-motion: reduce)").matches;
}
