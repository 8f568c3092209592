import * as fs from "node:fs"
import * as http from "node:http"
import { Figures, type Sidecar } from "../sidecar.ts"

/** How many of each kind. */
export type Counts = Readonly<Record<string, number>>

const tally = (kinds: ReadonlyArray<string>): Counts => {
  const counts: Record<string, number> = {}
  for (const kind of kinds.toSorted()) counts[kind] = (counts[kind] ?? 0) + 1
  return counts
}

/** The open files of a process: sockets, pipes, watches by kind, files by path. */
export const openFiles = (pid: number): Counts =>
  tally(
    fs.readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
      try {
        return [fs.readlinkSync(`/proc/${pid}/fd/${fd}`).replace(/:\[\d+\]$/, "")]
      } catch {
        // Closed while we looked.
        return []
      }
    })
  )

/** The figures over a connection of their own, which is gone with the answer. */
export const scrapeAlone = async (sidecar: Sidecar): Promise<Figures> => {
  const line = await sidecar.log("metrics server listening")
  return new Promise((resolve, reject) => {
    http.get(`http://${String(line["address"])}/metrics`, { agent: false }, (response) => {
      let text = ""
      response.setEncoding("utf8")
      response.on("data", (chunk: string) => (text += chunk))
      response.on("error", reject)
      response.on("close", () => resolve(new Figures(text)))
    }).on("error", reject)
  })
}

/** What keeps the daemon's event loop alive, by type, as it says itself. The scrape's own connection is among it. */
export const activeResources = (figures: Figures): Counts =>
  Object.fromEntries(
    [...figures.text.matchAll(/^nodejs_active_resources\{type="(\w+)"\} (\d+)$/gm)].map((
      [, type, count]
    ) => [type, Number(count)])
  )

/** Of each kind no more than before; a kind that was not there before is too many. */
export const noMoreThan = (now: Counts, before: Counts): boolean =>
  Object.entries(now).every(([kind, count]) => count <= (before[kind] ?? 0))
