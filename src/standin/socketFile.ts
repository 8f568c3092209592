import { Effect } from "effect"
import * as fs from "node:fs"
import * as path from "node:path"
import { pathFault } from "../internal/wire/socketAddress.ts"
import { BindError } from "../services/GrpcServer.ts"

/** Makes way for a new socket at `file`: a worker unlinks what an earlier one left behind. Never removes anything else. */
export const clearStale = (file: string): Effect.Effect<void, BindError> => {
  const refuse = (reason: BindError["reason"], detail: string) =>
    Effect.fail(new BindError({ key: "--socket", address: `unix://${file}`, reason, detail }))
  const tooLong = pathFault(file)
  if (tooLong !== undefined) return refuse("unavailable", `--socket: ${tooLong.detail}`)
  return Effect.suspend(() => {
    try {
      const found = fs.lstatSync(file, { throwIfNoEntry: false })
      if (found === undefined) {
        const folder = path.dirname(file)
        return fs.existsSync(folder)
          ? Effect.void
          : refuse("unavailable", `--socket: there is no folder ${folder}; create it first`)
      }
      if (!found.isSocket()) {
        return refuse("not_a_socket", `--socket: ${file} is there and is not a socket; remove it first`)
      }
      fs.unlinkSync(file)
      return Effect.void
    } catch (cause) {
      return refuse("forbidden", `--socket: ${cause instanceof Error ? cause.message : String(cause)}`)
    }
  })
}
