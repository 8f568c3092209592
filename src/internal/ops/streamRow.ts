import type { RunningStream } from "../../services/RunningStream.ts"
import type { StreamRow } from "../../services/StreamRow.ts"

const tenths = (millis: number): number => Math.round(millis / 100) / 10

/** A stream as operators are shown it. */
export const streamRow = (stream: RunningStream): StreamRow => ({
  id: stream.id,
  state: stream.state,
  model: stream.model,
  tenant: stream.tenant,
  peer: stream.peer,
  trace_id: stream.traceId,
  age_seconds: tenths(stream.ageMillis),
  tokens: stream.tokens,
  tokens_per_second: stream.ageMillis <= 0 ? 0 : Math.round(stream.tokens * 10_000 / stream.ageMillis) / 10,
  deadline_seconds: stream.deadlineInMillis === undefined ? null : tenths(stream.deadlineInMillis)
})

/** The oldest ones first, at most `most` of them. */
export const streamRows = (streams: ReadonlyArray<RunningStream>, most: number): ReadonlyArray<StreamRow> =>
  streams.toSorted((a, b) => b.ageMillis - a.ageMillis).slice(0, most).map(streamRow)
