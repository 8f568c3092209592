/**
 * A stream that is under way, as it is now. Durations are milliseconds.
 *
 * - `id`: that of its usage record;
 * - `state`: `held` waits for a worker that is away, `queued` for a place at the worker;
 * - `ageMillis`: since its headers came; `deadlineInMillis`: until its caller's deadline, `undefined`: it has none;
 * - `tokens`: token chunks that its gateway has been given.
 */
export interface RunningStream {
  readonly id: string
  readonly traceId: string
  readonly model: string
  readonly tenant: string
  readonly peer: string
  readonly state: "held" | "queued" | "at the worker"
  readonly ageMillis: number
  readonly tokens: number
  readonly deadlineInMillis: number | undefined
}
