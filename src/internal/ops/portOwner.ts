import { Effect } from "effect"
import { builtins } from "../builtins.ts"

/** Who answers on a port that we wanted for our own metrics. */
export type PortOwner = "cy-llm worker" | "sidecar" | "unknown"

/** A neighbour on this machine answers at once, or it is not worth the wait of whoever starts us. */
const limit = "1 second"

/** Beyond it nobody's metrics are looked at. */
const maxChars = 262_144

/** A name that only one kind of process exposes, each with its kind. */
const marks: ReadonlyArray<readonly [string, PortOwner]> = [
  ["worker_inflight_requests", "cy-llm worker"],
  ["sidecar_build_info", "sidecar"]
]

/** An address at which a server can be asked that listens on `host`. */
const reachable = (host: string): string => host === "0.0.0.0" ? "127.0.0.1" : host === "::" ? "::1" : host

/** Asks whoever holds a port for its metrics, for at most a second and 256 KiB, to tell who it is. */
export const portOwner = (host: string, port: number): Effect.Effect<PortOwner> =>
  Effect.callback<PortOwner>((resume) => {
    let text = ""
    const request = builtins.http.get({ host: reachable(host), port, path: "/metrics", agent: false }, (response) => {
      const decide = () => resume(Effect.succeed(marks.find(([mark]) => text.includes(mark))?.[1] ?? "unknown"))
      response.setEncoding("utf8")
      response.on("data", (part: string) => {
        text += part
        if (marks.some(([mark]) => text.includes(mark)) || text.length > maxChars) decide()
      })
      response.on("end", decide)
      response.on("error", decide)
    })
    request.on("error", () => resume(Effect.succeed("unknown")))
    return Effect.sync(() => request.destroy())
  }).pipe(
    Effect.timeoutOrElse({ duration: limit, orElse: () => Effect.succeed<PortOwner>("unknown") })
  )
