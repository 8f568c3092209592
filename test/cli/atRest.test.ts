import * as fs from "node:fs"
import * as path from "node:path"
import { describe, expect, it } from "vitest"
import { Program, temporaryFolder } from "./program.ts"

/** What nobody needs until there is TLS, a compressed message or a scrape. The last two come with an import of http or of util. */
const heavy = ["tls", "zlib", "internal/deps/undici/undici", "internal/util/parse_args/parse_args"]

/** Which of Node's own modules a process has loaded, told at its end. */
const probe = (file: string): string => {
  const to = path.join(temporaryFolder(), "probe.cjs")
  fs.writeFileSync(
    to,
    `process.once("exit", () => require("node:fs").writeFileSync(${
      JSON.stringify(file)
    }, process.moduleLoadList.join("\\n")))`
  )
  return to
}

describe("a daemon at rest", () => {
  it("has not loaded what it may never need", async () => {
    const told = path.join(temporaryFolder(), "modules")
    const daemon = new Program([], {
      env: {
        NODE_OPTIONS: `--require ${probe(told)}`,
        SIDECAR_BIND_ADDR: "127.0.0.1:0",
        SIDECAR_METRICS_PORT: "0",
        SIDECAR_WORKER_UDS: "unix:///nobody.sock"
      }
    })
    await daemon.line("listening")
    daemon.child.kill("SIGTERM")
    await daemon.exited
    const modules = fs.readFileSync(told, "utf8").split("\n").map((line) => line.replace("NativeModule ", ""))
    expect(modules).toContain("net")
    expect(heavy.filter((name) => modules.includes(name))).toEqual([])
  })
})
