import { Effect } from "effect"
import type { CallFailed } from "../internal/client/aiClient.ts"
import { CliExit, ExitCode } from "./exit.ts"
import { explain, type Peer } from "./peer.ts"

export type Payload = Readonly<Record<string, string>>

/** An answer that takes longer than this is none. */
const DEADLINE_SECONDS = 5

export const notASidecar = (address: string): CliExit =>
  new CliExit({
    code: ExitCode.unavailable,
    message: `${address} answers, but it is not a sidecar (a worker?); name the sidecar's address with --addr`
  })

/** Sends one of the sidecar's own commands; what it answers when it says "ok". Its "error" is told in one line. */
export const order = (
  { address, client }: Peer,
  command: string,
  payload: Payload = {}
): Effect.Effect<Payload, CliExit> =>
  client.control(command, payload, { deadlineSeconds: DEADLINE_SECONDS }).pipe(
    Effect.catchTag("CallFailed", (error: CallFailed) => Effect.fail(explain(error, address))),
    Effect.flatMap(({ payload }) => {
      if (payload.status === "ok") return Effect.succeed(payload)
      // A sidecar that does not know the command names those that it knows; a worker has words of its own.
      const { known, message } = payload
      if (message === undefined || (known === undefined && /^unknown command/i.test(message))) {
        return Effect.fail(notASidecar(address))
      }
      return Effect.fail(
        new CliExit({
          code: payload.reason === "config" ? ExitCode.config : ExitCode.failure,
          message: known === undefined ? message : `the sidecar at ${address} is older than this program: no ${command}`
        })
      )
    })
  )
