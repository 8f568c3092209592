import { Flag } from "effect/cli"

/** `--json` of the commands that print one answer. */
export const jsonFlag = Flag.Boolean("json").pipe(
  Flag.withDescription("Print JSON for programs"),
  Flag.withDefault(false)
)

/** `--watch` of the commands that ask again. */
export const watchFlag = Flag.Boolean("watch").pipe(
  Flag.withAlias("w"),
  Flag.withDescription("Ask again each second, until Ctrl-C"),
  Flag.withDefault(false)
)
