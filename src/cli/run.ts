import { Command } from "effect/cli"
import { daemon } from "./daemon.ts"

/** `sidecar run`, and `sidecar` alone. */
export const run = Command.make("run", {}, () => daemon).pipe(
  Command.withDescription(
    "Run the sidecar (also what `sidecar` alone does); SIGTERM, SIGINT and SIGQUIT drain it, "
      + "SIGHUP reads the configuration again (in a terminal it drains, too)"
  )
)
