/** Reads a V8 CPU profile: where the time went, by function and by module. */
import { readFileSync } from "node:fs"

interface CpuProfile {
  readonly nodes: ReadonlyArray<{
    readonly id: number
    readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number }
  }>
  readonly samples: ReadonlyArray<number>
  readonly timeDeltas: ReadonlyArray<number>
}

const shorten = (url: string): string =>
  url.replace(/^file:\/\//, "").replace(/^.*\/node_modules\//, "").replace(`${process.cwd()}/`, "")

const moduleOf = (url: string): string => {
  if (url === "") return "(native)"
  if (url.startsWith("node:")) return url.split("/").slice(0, 3).join("/")
  return shorten(url).split("/").slice(0, url.includes("/node_modules/@") ? 3 : 2).join("/")
}

/** Lines of text: the `top` functions by self time and all modules, in percent of the time that was not idle. */
export const summarize = (file: string, top = 30): ReadonlyArray<string> => {
  const profile: CpuProfile = JSON.parse(readFileSync(file, "utf8"))
  const nodes = new Map(profile.nodes.map((node) => [node.id, node.callFrame]))
  const functions = new Map<string, number>()
  const modules = new Map<string, number>()
  let busy = 0
  profile.samples.forEach((id, i) => {
    const frame = nodes.get(id)
    const micros = profile.timeDeltas[i] ?? 0
    // The profiler starts and stops within its own sample.
    if (frame === undefined || frame.functionName === "(idle)" || frame.url === "node:inspector") return
    busy += micros
    const name = frame.functionName === "" ? "(anonymous)" : frame.functionName
    const where = frame.url === "" ? name : `${name}  ${shorten(frame.url)}:${frame.lineNumber + 1}`
    functions.set(where, (functions.get(where) ?? 0) + micros)
    const module = frame.url === "" ? name : moduleOf(frame.url)
    modules.set(module, (modules.get(module) ?? 0) + micros)
  })
  const lines = (from: Map<string, number>, count: number): Array<string> =>
    [...from].toSorted((a, b) => b[1] - a[1]).slice(0, count)
      .map(([what, micros]) => `  ${((100 * micros) / busy).toFixed(1).padStart(5)} %  ${what}`)
  return [
    `busy ${(busy / 1e6).toFixed(2)} s; self time by function:`,
    ...lines(functions, top),
    "self time by module:",
    ...lines(modules, 16)
  ]
}
