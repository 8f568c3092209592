/**
 * `npm run simulate -- --runs 2000`: plays random outages on virtual time and checks every rule after each. With `--seed`
 * it begins there; `--seed 17` alone plays that one run and prints its plan and its trace. `--jobs 2` shares the seeds
 * among so many processes,
 * and `--no-shrink` leaves a failing timeline as long as it was drawn.
 */
import { spawn } from "node:child_process"
import { availableParallelism } from "node:os"
import { parseArgs } from "node:util"
import { draw } from "./explorer/draw.ts"
import { explore, type Explored, type Failure } from "./explorer/explore.ts"
import { format } from "./explorer/plan.ts"
import { play } from "./explorer/play.ts"
import { check } from "./explorer/rules.ts"

const print = (text: string): void => void process.stdout.write(`${text}\n`)

const number = (text: string | undefined, otherwise: number): number => {
  const value = Number(text ?? otherwise)
  if (!Number.isSafeInteger(value) || value < 0) {
    process.stderr.write(`expected a whole number, got "${text}"\n`)
    process.exit(64)
  }
  return value
}

const report = ({ broken, plan, seed, shortest, shrinkRuns }: Failure): void => {
  print(`\nseed ${seed} breaks ${broken.length === 1 ? "a rule" : `${broken.length} rules`}:`)
  for (const { detail, rule } of broken.slice(0, 10)) print(`  ${rule}\n    ${detail}`)
  print(`\nthe shortest timeline that breaks the first of them (after ${shrinkRuns} runs):\n`)
  print(format(plan).split("\n").map((line) => `  ${line}`).join("\n"))
  print("")
  for (const { detail, rule } of shortest.slice(0, 5)) print(`  ${rule}\n    ${detail}`)
  print(`\nagain, with its trace: npm run simulate -- --seed ${seed}`)
}

const one = (seed: number): number => {
  const plan = draw(seed)
  const played = play(plan)
  print(`seed ${seed}\n\n${format(plan)}\n\n${played.evidence?.trace ?? ""}\n`)
  const broken = check(played)
  for (const { detail, rule } of broken) print(`${rule}\n  ${detail}`)
  print(broken.length === 0 ? "every rule holds" : `${broken.length} broken`)
  return broken.length
}

const span = (millis: number): string => `${(millis / 86_400_000).toFixed(1)} days`

const summary = ({ outages, runs, streams, virtualMillis }: Explored, seconds: number): string =>
  `${runs} runs, ${streams} streams, ${outages} outages, ${span(virtualMillis)} of virtual time in ${
    seconds.toFixed(1)
  } s`

/** One job of several, in a process of its own; its result comes back over IPC. */
const job = (
  args: ReadonlyArray<string>,
  onDone: (explored: Explored) => void,
  onRuns: (runs: number) => void
) => {
  const child = spawn(process.execPath, [import.meta.filename, "--job", ...args], {
    stdio: ["ignore", "inherit", "inherit", "ipc"]
  })
  child.on("message", (message: { readonly runs?: number; readonly explored?: Explored }) => {
    if (message.runs !== undefined) onRuns(message.runs)
    if (message.explored !== undefined) onDone(message.explored)
  })
  return child
}

const many = async (seed: number, runs: number, jobs: number, shrinks: boolean): Promise<number> => {
  const started = performance.now()
  const share = Math.ceil(runs / jobs)
  const done = Array.from({ length: jobs }, () => 0)
  const progress = (n: number, count: number) => {
    done[n] = count
    if (!process.stdout.isTTY) return
    process.stdout.write(`\r${done.reduce((sum, one) => sum + one, 0)} of ${runs} runs`)
  }
  const children: Array<ReturnType<typeof job>> = []
  const results = await Promise.all(
    done.map((_, n) =>
      new Promise<Explored | undefined>((resolve) => {
        const own = Math.max(0, Math.min(share, runs - n * share))
        const args = ["--seed", `${seed + n * share}`, "--runs", `${own}`, ...(shrinks ? [] : ["--no-shrink"])]
        const child = job(args, resolve, (count) => progress(n, count))
        children.push(child)
        child.on("exit", () => resolve(undefined))
      })
    )
  )
  for (const child of children) child.kill()
  if (process.stdout.isTTY) process.stdout.write("\r")
  const all = results.filter((result) => result !== undefined)
  const sum = (of: (explored: Explored) => number) => all.reduce((total, explored) => total + of(explored), 0)
  const failure = all.map((explored) => explored.failure)
    .filter((one) => one !== undefined)
    .sort((a, b) => a.seed - b.seed)[0]
  const explored: Explored = {
    runs: sum((one) => one.runs),
    streams: sum((one) => one.streams),
    outages: sum((one) => one.outages),
    virtualMillis: sum((one) => one.virtualMillis),
    failure
  }
  print(summary(explored, (performance.now() - started) / 1000))
  if (failure !== undefined) report(failure)
  if (failure === undefined && all.length < jobs) {
    print("a job ended without a result")
    return 1
  }
  if (failure === undefined) print("every rule holds")
  return failure === undefined ? 0 : 1
}

const main = async (): Promise<number> => {
  const { values } = parseArgs({
    options: {
      seed: { type: "string" },
      runs: { type: "string" },
      jobs: { type: "string" },
      "no-shrink": { type: "boolean", default: false },
      job: { type: "boolean", default: false }
    }
  })
  const seed = number(values.seed, 1)
  if (values.job) {
    const explored = explore({
      seed,
      runs: number(values.runs, 0),
      ...(values["no-shrink"] ? { shrinkRuns: 0 } : {}),
      onRun: (runs) => void (runs % 20 === 0 && process.send?.({ runs }))
    })
    process.send?.({ explored })
    return 0
  }
  if (values.seed !== undefined && values.runs === undefined) return one(seed) === 0 ? 0 : 1
  const jobs = Math.max(1, number(values.jobs, Math.min(2, availableParallelism())))
  return await many(seed, number(values.runs, 200), jobs, !values["no-shrink"])
}

process.exitCode = await main()
