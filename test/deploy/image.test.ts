import { execFileSync, spawn } from "node:child_process"
import * as fs from "node:fs"
import { tmpdir } from "node:os"
import * as path from "node:path"
import { createInterface } from "node:readline"
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest"
import { Recorder } from "../support/events.ts"
import { nodeBinary, program, root } from "../support/node.ts"

const dockerfile = fs.readFileSync(path.join(root, "deploy/docker/Dockerfile"), "utf8")
const lastStage = dockerfile.split(/^FROM /m).at(-1) ?? ""

/** What the last stage copies out of the build and the repository: sources by target folder. */
const copies = Array.from(lastStage.matchAll(/^COPY ((?:--\S+ )*)(.+)$/gm), ([, options = "", words = ""]) => {
  const [target = "", ...sources] = words.split(" ").toReversed()
  return { options, sources, target }
})

const filesIn = (folder: string): ReadonlyArray<string> =>
  fs.readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((name) => fs.statSync(path.join(folder, name)).isFile())

/** The files of the program that one of them imports, from the first ones on. */
const reached = (folder: string, entries: ReadonlyArray<string>): ReadonlySet<string> => {
  const found = new Set<string>()
  const queue = [...entries]
  for (let file = queue.pop(); file !== undefined; file = queue.pop()) {
    if (found.has(file)) continue
    found.add(file)
    const text = fs.readFileSync(path.join(folder, file), "utf8")
    queue.push(
      ...Array.from(text.matchAll(/(?:from|import|import\()\s*["'`]\.\/([^"'`]+)["'`]/g), ([, name = ""]) => name)
    )
  }
  return found
}

/** The image's own files, without an engine to build it: those of its last stage, as it lays them out. */
describe.skipIf(!program.endsWith(".js"))("the image", () => {
  const image = fs.mkdtempSync(path.join(tmpdir(), "image-"))
  const app = path.join(image, "app")
  const data = path.join(image, "data")
  const asRoot = process.getuid?.() === 0
  const user = asRoot ? { uid: 12_345, gid: 12_345 } : {}

  beforeAll(() => {
    fs.mkdirSync(app)
    fs.mkdirSync(data)
    for (const { options, sources, target } of copies) {
      if (options.includes("--chown")) continue
      for (const source of sources) {
        const from = source === "/src/dist/bin" ? path.dirname(program) : path.join(root, source)
        const to = target.endsWith("/") ? path.join(app, target, path.basename(source)) : path.join(app, target)
        fs.cpSync(from, to, { recursive: true })
      }
    }
    execFileSync("chmod", ["-R", "a-w,a+rX", app])
    fs.chmodSync(image, 0o755)
    if (asRoot) fs.chownSync(data, 12_345, 12_345)
  })
  afterAll(() => {
    execFileSync("chmod", ["-R", "u+w", app])
    fs.rmSync(image, { recursive: true })
  })

  it("holds nothing that is not run, beside licences and the list of what is in it", () => {
    const bin = path.join(app, "dist/bin")
    const run = reached(bin, ["sidecar.js", "SqliteJournalThread.js"])
    const code = [...run].map((file) => fs.readFileSync(path.join(bin, file), "utf8")).join("\n")
    const idle = filesIn(app).filter((file) => {
      if (file.startsWith("dist/bin/")) {
        return !run.has(file.slice("dist/bin/".length)) && !/LICENSES\.txt|sbom\.cdx\.json/.test(file)
      }
      return !code.includes(file.replace(/^proto\/(?=.*\/)/, ""))
    })
    expect(idle).toEqual([])
    expect(run.size).toBeGreaterThan(20)
  })

  it("is small: the program and its contracts, no package", () => {
    const bytes = filesIn(app).reduce((sum, file) => sum + fs.statSync(path.join(app, file)).size, 0)
    expect(bytes).toBeLessThan(4_000_000)
    expect(filesIn(app).filter((file) => file.includes("node_modules"))).toEqual([])
  })

  it("runs as a user without rights who may write nowhere but to /data, and leaves in order", async () => {
    const [, entry = ""] = /^ENTRYPOINT \["\/nodejs\/bin\/node", "\/app\/(.+)"\]$/m.exec(lastStage) ?? []
    // Node itself refuses every other write.
    const limits = ["--permission", "--allow-fs-read=*", `--allow-fs-write=${data}`, "--allow-worker"]
    const child = spawn(nodeBinary, [...limits, path.join(app, entry), "run"], {
      cwd: app,
      env: {
        SIDECAR_JOURNAL_PATH: path.join(data, "usage.sqlite"),
        SIDECAR_WORKER_UDS: `unix://${image}/worker.sock`,
        SIDECAR_BIND_ADDR: "127.0.0.1:0",
        SIDECAR_METRICS_PORT: "0",
        SIDECAR_LOG_FORMAT: "json"
      },
      ...user
    })
    onTestFinished(() => void child.kill("SIGKILL"))
    const lines = new Recorder<string>()
    createInterface({ input: child.stdout }).on("line", (line) => lines.push(line))
    createInterface({ input: child.stderr }).on("line", (line) => lines.push(line))
    const ended = new Promise<number | null>((resolve) => child.once("close", resolve))
    void ended.then(() => lines.fail(new Error("it has ended")))
    const listening = await lines.first((line) => line.includes("metrics server listening"), "its metrics port")
    const [, address = ""] = /"address":"([^"]+)"/.exec(listening) ?? []
    const status = await fetch(`http://${address}/readyz`)
    expect([status.status, await status.text()]).toEqual([503, expect.stringContaining("\"SocketMissing\"")])
    child.kill("SIGTERM")
    expect(await ended).toBe(0)
    expect(fs.readdirSync(data)).toContain("usage.sqlite")
  })
})
