/**
 * Web Worker that runs checkpoints, so that the page stays responsive.
 *
 * Requests are objects with a `type` and an `id`, which every response repeats:
 *
 *     load    {id, files}             -> loaded {id, checkpoint, policies, ...}
 *     think   {id, checkpoint, ...}   -> tick {id, ...} for every tick, then result {id, ...}; see `ThinkRequest`
 *     predict {id, checkpoint, input} -> record {id, record}; see `PredictRequest`
 *     inside  {id, checkpoint, record, request} -> inside {id, answer}; see `InsideRequest`
 *     cancel  {id}                    -> cancelled {id}
 *     unload  {checkpoint}
 *
 * A request that fails is answered with `error {id, message}`, one sentence. See `EngineHost` in `engine-host.js`.
 */

import { EngineHost } from "./engine-host.js";

const host = new EngineHost((message, transfer) => self.postMessage(message, transfer));
self.addEventListener("message", ({ data }) => host.handle(data));
