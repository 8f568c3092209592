/**
 * Entry of the process that plays the explorers of many copies of the sources, one after the other: `effect` is loaded once
 * for all of them. Steered over IPC by `workshop.ts`.
 */
import { join } from "node:path"
import { pathToFileURL } from "node:url"
import type { explore as Explore } from "../simulation/explorer/explore.ts"
import type { Found, Task } from "./workshop.ts"

interface Explorer {
  readonly explore: typeof Explore
}

const playFrom = (seed: number, { explore }: Explorer, { runs, wanted }: Task): Found => {
  const broken: Array<string> = []
  for (let played = 0; played < runs;) {
    const { failure, runs: more } = explore({ seed: seed + played, runs: runs - played, shrinkRuns: 0 })
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

const play = async (task: Task): Promise<ReadonlyArray<Found>> => {
  const module: Explorer = await import(pathToFileURL(join(task.copy, "test/simulation/explorer/explore.ts")).href)
  return task.seeds.map((seed) => playFrom(seed, module, task))
}

process.on("message", (task: Task) => void play(task).then((found) => process.send?.(found)))
// A parent that dies takes it along.
process.on("disconnect", () => process.exit(0))
