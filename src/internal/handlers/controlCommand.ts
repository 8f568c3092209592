import type { Effect } from "effect"

/** What a control command is given and answers: text by key, as the contract has it. */
export type Payload = Readonly<Record<string, string>>

/** One of the sidecar's own commands. A mistake of its caller is an answer, too. */
export type Command = (payload: Payload) => Effect.Effect<Payload>

export const done: Payload = { status: "ok" }

/** What was wrong with the command, in one line. */
export const mistake = (message: string): Payload => ({ status: "error", message })
