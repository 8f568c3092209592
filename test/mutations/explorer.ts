/**
 * Entry of the process that plays the explorers of many copies of the sources, one after the other: `effect` is loaded once
 * for all of them. Steered over IPC by `workshop.ts`.
 */
import { join } from "node:path"
import { pathToFileURL } from "node:url"
import type { explore as Explore } from "../simulation/explorer/explore.ts"
import type { Found, Task } from "./workshop.ts"

const play = async ({ copy, runs, seed, wanted }: Task): Promise<Found> => {
  const module: { readonly explore: typeof Explore } = await import(
    pathToFileURL(join(copy, "test/simulation/explorer/explore.ts")).href
  )
  const broken: Array<string> = []
  for (let played = 0; played < runs;) {
    const { failure, runs: more } = module.explore({ seed: seed + played, runs: runs - played, shrinkRuns: 0 })
    played += more
    if (failure === undefined) break
    const rules = failure.broken.map(({ rule }) => rule)
    broken.push(`seed ${failure.seed}: ${rules.join("; ")}`)
    if (wanted.length === 0 || rules.some((rule) => wanted.includes(rule))) {
      return { runs: played, seed: failure.seed, broken }
    }
  }
  return { runs, seed: undefined, broken }
}

process.on("message", (task: Task) => void play(task).then((found) => process.send?.(found)))
// A parent that dies takes it along.
process.on("disconnect", () => process.exit(0))
