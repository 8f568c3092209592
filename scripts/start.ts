/**
 * `npm start`: the bundle when it is built and no source is newer, else the sources. The bundle starts in half the time; one
 * that is older than what its reader looks at would be a trap.
 */
import { readdirSync, statSync } from "node:fs"
import { fileURLToPath } from "node:url"

const at = (path: string): URL => new URL(`../${path}`, import.meta.url)

const builtAt = statSync(at("dist/bin/sidecar.js"), { throwIfNoEntry: false })?.mtimeMs ?? 0

const isFresh = builtAt > 0 &&
  readdirSync(at("src"), { recursive: true, encoding: "utf8" })
    .every((name) => statSync(`${fileURLToPath(at("src"))}/${name}`).mtimeMs <= builtAt)

await import(at(isFresh ? "dist/bin/sidecar.js" : "src/main.ts").href)
