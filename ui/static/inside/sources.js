/**
 * Where the inside view gets its data.
 *
 * @typedef {object} InsideSource
 * @property {() => Promise<Record<string, unknown>>} getOverview - Activations, synchronisation and logits of all ticks.
 * @property {(neuron: number) => Promise<Record<string, unknown>>} getNeuron - Model and activations of a neuron.
 * @property {(kind: "out" | "action", pair: number) => Promise<Record<string, unknown>>} getPair - Activations of a pair.
 * @property {(query: ContributionQuery) => Promise<Record<string, unknown>>} getContributions - Contributions of all pairs.
 * @property {(neuron: number) => Promise<Record<string, unknown>>} silence - The same unroll with a neuron held at 0.
 *
 * @typedef {object} ContributionQuery
 * @property {"answer" | "energy"} of - What is explained.
 * @property {number} [target] - Index of the logit.
 * @property {number | null} [against] - Index of the logit that is subtracted; null for none.
 * @property {number} tick - The tick, from 1.
 */

/**
 * Build a source from a function that answers requests as `training.inside_view` describes them.
 *
 * @param {(request: Record<string, unknown>) => Promise<Record<string, unknown>>} ask - Answers a request.
 * @returns {InsideSource} The source.
 */
export function createSource(ask) {
  return {
    getOverview: () => ask({ what: "overview" }),
    getNeuron: (neuron) => ask({ what: "neuron", neuron }),
    getPair: (kind, pair) => ask({ what: "pair", kind, pair }),
    getContributions: (query) => ask({ what: "contributions", ...query }),
    silence: (neuron) => ask({ what: "silence", neuron }),
  };
}

/** Requests to the server through the value of a component, one after the other. */
export class ServerRequests {
  #send;
  #serial = 0;
  #queue = [];

  /** @param {(message: {serial: number, record: string, request: object}) => void} send - Sends a request to the server. */
  constructor(send) {
    this.#send = send;
  }

  /**
   * Send a request when those before it are answered.
   *
   * @param {string} record - Id of the record of the prediction.
   * @param {Record<string, unknown>} request - The request.
   * @returns {Promise<Record<string, unknown>>} The answer.
   */
  ask(record, request) {
    this.#serial += 1;
    const message = { serial: this.#serial, record, request };
    return new Promise((resolve, reject) => {
      this.#queue.push({ message, resolve, reject });
      if (this.#queue.length === 1) this.#send(message);
    });
  }

  /**
   * Take the value of the component after the server has written it.
   *
   * @param {Record<string, unknown>} value - `{serial, answer}`, or `{serial, problem}` with a sentence.
   */
  receive({ serial, answer, problem }) {
    const [first] = this.#queue;
    if (!first || serial !== first.message.serial || (answer === undefined && problem === undefined)) return;
    this.#queue.shift();
    if (this.#queue.length) this.#send(this.#queue[0].message);
    if (answer) first.resolve(answer);
    else first.reject(new Error(String(problem)));
  }
}
