import { Data } from "effect"

/** The worker's own non-OK answer to a call. */
export class Refusal extends Data.TaggedError("Refusal")<{ readonly code: number; readonly details: string }> {}
