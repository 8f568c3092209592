import { Effect } from "effect"
import { Command } from "effect/cli"
import { order } from "./order.ts"
import { connect, peerFlags } from "./peer.ts"
import { printLine } from "./terminal.ts"

/** A command that tells a running sidecar to do one thing. */
const simple = (name: string, description: string, did: string) =>
  Command.make(name, peerFlags, (given) =>
    Effect.gen(function*() {
      yield* order(yield* connect(given), `sidecar.${name}`)
      yield* printLine(did)
    }).pipe(Effect.scoped)).pipe(Command.withDescription(description))

/** `sidecar drain`, `undrain`, `reconnect`. */
export const orders = [
  simple(
    "drain",
    "Let a running sidecar refuse new streams (UNAVAILABLE, with a retry hint) and be not ready; running ones finish, the process stays",
    "draining: new streams are refused, running ones finish; `sidecar undrain` takes new ones again"
  ),
  simple("undrain", "End a drain: new streams are taken again", "new streams are taken again"),
  simple(
    "reconnect",
    "Let a running sidecar drop its connection to the worker and dial anew at once; streams on it end, or are sent again before their first token",
    "dialling the worker anew"
  )
] as const
