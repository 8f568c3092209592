import { Effect } from "effect"
import { readFileSync } from "node:fs"
import { BindError } from "../../services/GrpcServer.ts"
import { isToken, roomForToken } from "../../services/WorkerToken.ts"

const KEY = "[server] worker_token_file"

/** A mistake is told without a word of what the file holds. */
const mistake = (file: string, detail: string): BindError =>
  new BindError({ key: KEY, address: file, reason: "unavailable", detail: `${KEY}: ${detail}` })

/** The token in `[server] worker_token_file`, as secrets are mounted: a line break at its end is not part of it. */
export const readToken = (file: string, maxMetadataBytes: number): Effect.Effect<string, BindError> =>
  Effect.gen(function*() {
    const text = yield* Effect.try({
      try: () => readFileSync(file, "utf8"),
      catch: () => mistake(file, `cannot read ${file}`)
    })
    const token = text.trim()
    if (!isToken(token)) {
      return yield* mistake(file, `${file} holds no token: one line of printable ASCII without spaces`)
    }
    const room = roomForToken(maxMetadataBytes)
    if (token.length <= room) return token
    return yield* mistake(
      file,
      `the token in ${file} has ${token.length} bytes; lower [server] max_metadata_bytes by ${
        token.length - room
      }, so ` +
        "that both fit into what a worker takes"
    )
  })
