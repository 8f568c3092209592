/** What the operating system tells of a process, and where it may run. Linux only; elsewhere the bench says so. */
import { spawnSync } from "node:child_process"
import { readdirSync, readFileSync } from "node:fs"
import { cpus } from "node:os"

const clockTicks = Number(spawnSync("getconf", ["CLK_TCK"], { encoding: "utf8" }).stdout.trim()) || 100

/** Nanoseconds of CPU that the threads of a process have used; 0 when it is gone. */
const cpuOf = (pid: number): number => {
  try {
    let sum = 0
    for (const task of readdirSync(`/proc/${pid}/task`)) {
      sum += Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, "utf8").split(" ")[0])
    }
    return sum
  } catch {
    return coarseCpuOf(pid)
  }
}

/** The same to a hundredth of a second, for kernels without schedstat. */
const coarseCpuOf = (pid: number): number => {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? []
    return ((Number(fields[11]) + Number(fields[12])) / clockTicks) * 1e9
  } catch {
    return 0
  }
}

/** Microseconds of CPU, user and system, that these processes have used with all of their threads. */
export const cpuMicros = (pids: ReadonlyArray<number>): number => pids.reduce((sum, pid) => sum + cpuOf(pid), 0) / 1000

/** Microseconds of CPU that each thread of a process has used, by `name (id)`. */
export const threadMicros = (pid: number): ReadonlyMap<string, number> => {
  const out = new Map<string, number>()
  for (const task of readdirSync(`/proc/${pid}/task`)) {
    const name = readFileSync(`/proc/${pid}/task/${task}/comm`, "utf8").trim()
    const nanos = Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, "utf8").split(" ")[0])
    out.set(`${Number(task) === pid ? "main" : name} (${task})`, nanos / 1000)
  }
  return out
}

/** Resident memory of these processes in MiB, shared pages counted for each. */
export const rssMiB = (pids: ReadonlyArray<number>): number =>
  pids.reduce((sum, pid) => {
    try {
      const kib = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]
      return sum + Number(kib ?? 0) / 1024
    } catch {
      return sum
    }
  }, 0)

/** Children of a process: the workers of an nginx. */
export const childrenOf = (pid: number): ReadonlyArray<number> => {
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ").filter(Boolean).map(Number)
  } catch {
    return []
  }
}

/** Whether the proxies can have a core of their own. */
export const canPin = cpus().length >= 2 && spawnSync("taskset", ["-V"]).status === 0

/** The core of the proxies, and the one of the worker and the load. */
export const PROXY_CORE = 0
export const PEER_CORE = 1

/** Moves a process with all of its threads to one core. */
export const pin = (pid: number, core: number): void => {
  if (canPin) spawnSync("taskset", ["-a", "-c", "-p", String(core), String(pid)])
}

/** A command line that starts on one core. */
export const pinned = (core: number, command: string, args: ReadonlyArray<string>): [string, Array<string>] =>
  canPin ? ["taskset", ["-c", String(core), command, ...args]] : [command, [...args]]

/** Whether a command is there. */
export const has = (command: string): boolean => spawnSync("which", [command]).status === 0

/** Jobs that wanted to run in the last minute, on average: above the number of cores, figures are noisy. */
export const loadAverage = (): string => {
  try {
    return readFileSync("/proc/loadavg", "utf8").split(" ")[0] ?? "?"
  } catch {
    return "?"
  }
}
