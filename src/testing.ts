/**
 * `cy-llm-sidecar/testing`: an inference worker and gateways made of script, for tests of whoever stands before or around
 * the sidecar. Everything runs on Effect's Clock, so with `TestClock` outages of minutes are replayed in milliseconds,
 * with the same result each time. Start with `docs/testing.md`.
 */

/** How the worker answers a call. */
export * as Answer from "./testing/Answer.ts"
/** Requests and replies of `cy.llm` as bytes and frames. */
export * as Messages from "./testing/Messages.ts"
/** What happened, in order, as data and as text. */
export * as Recorder from "./testing/Recorder.ts"
/** Gateways: eager, slow, stalled, impatient, gone. */
export * as ScriptedGateway from "./testing/ScriptedGateway.ts"
/** The worker: the `WorkerChannel` for the sidecar and the controls for the test. */
export * as ScriptedWorker from "./testing/ScriptedWorker.ts"
/** The real core of the sidecar over a scripted worker. */
export * as Simulation from "./testing/Simulation.ts"
/** The settings with all defaults, or with some changed. */
export * as TestConfig from "./testing/TestConfig.ts"
/** What happens to the worker when, as data and as text. */
export * as Timeline from "./testing/Timeline.ts"
