/**
 * Entry of the process that plays the explorers of many copies of the sources, one after the other: `effect` is loaded once
 * for all of them. Steered over IPC by `workshop.ts`.
 */
import { join } from "node:path"
import { pathToFileURL } from "node:url"
import type { explore as Explore } from "../simulation/explorer/explore.ts"
import type { Found, Task } from "./workshop.ts"

const play = async ({ copy, runs, seed }: Task): Promise<Found> => {
  const module: { readonly explore: typeof Explore } = await import(
    pathToFileURL(join(copy, "test/simulation/explorer/explore.ts")).href
  )
  const { failure, runs: played } = module.explore({ seed, runs, shrinkRuns: 0 })
  return { runs: played, seed: failure?.seed, broken: failure?.broken ?? [] }
}

process.on("message", (task: Task) => void play(task).then((found) => process.send?.(found)))
// A parent that dies takes it along.
process.on("disconnect", () => process.exit(0))
