import * as fs from "node:fs"
import * as net from "node:net"
import * as path from "node:path"
import { describe, expect, it, onTestFinished } from "vitest"
import { emptyLab, openLab } from "../support/lab.ts"
import { Sidecar, type SidecarOptions, wires } from "../support/sidecar.ts"

const CONFIG = 78
const UNAVAILABLE = 69

/** Starts a sidecar that cannot start. */
const startInVain = async (options: SidecarOptions) => {
  const lab = emptyLab()
  const sidecar = new Sidecar(lab.folder, options)
  onTestFinished(() => sidecar.close())
  const exit = await sidecar.exited
  expect(sidecar.output).not.toMatch(/^\s+at /m)
  expect(sidecar.output).not.toContain("Error:")
  return { exit, lines: sidecar.output.split("\n").filter((line) => line.trim() !== "") }
}

/** The one line that has all of `words`. */
const onlyLine = (lines: ReadonlyArray<string>, words: ReadonlyArray<string>): void => {
  const found = lines.filter((line) => words.every((word) => line.includes(word)))
  expect({ lines, found: found.length }).toEqual({ lines, found: 1 })
}

const busyPort = async (): Promise<number> => {
  const server = net.createServer()
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  onTestFinished(() => void server.close())
  const address = server.address()
  return typeof address === "object" && address !== null ? address.port : 0
}

describe("a configuration with a mistake", () => {
  it.each<[string, SidecarOptions, ReadonlyArray<string>]>([
    ["is no TOML", { toml: "[server\nbind_addr = 1" }, ["sidecar.toml", ":1:"]],
    ["has an unknown section", { toml: "[sever]\nbind_addr = \"127.0.0.1:0\"\n" }, ["sidecar.toml", "sever", "server"]],
    ["has an unknown key", { toml: "[health]\ncheck_interval = 5\n" }, [
      "sidecar.toml: [health] check_interval",
      "check_interval_secs"
    ]],
    ["has a value of the wrong type", { toml: "[health]\ncheck_interval_secs = \"5s\"\n" }, [
      "sidecar.toml: [health] check_interval_secs",
      "expected a positive number",
      "got \"5s\""
    ]],
    ["has a value out of range", {
      toml: "[observability]\nmetrics_host = \"127.0.0.1\"\n[health]\nfailure_threshold = 0\n"
    }, [
      "sidecar.toml: [health] failure_threshold",
      "got 0"
    ]],
    ["names a file that is not there", { env: { SIDECAR_CONFIG: "missing.toml" } }, ["SIDECAR_CONFIG", "missing.toml"]],
    ["has a wrong value in the environment", { env: { SIDECAR_CHECK_INTERVAL_SECS: "soon" } }, [
      "SIDECAR_CHECK_INTERVAL_SECS",
      "expected a positive number",
      "soon"
    ]]
  ])("that %s is told in one line, exit code 78", async (_, options, words) => {
    const { exit, lines } = await startInVain(options)
    expect(exit).toEqual({ code: CONFIG, signal: null })
    onlyLine(lines, words)
  })

  it("tells all mistakes at once", async () => {
    const { exit, lines } = await startInVain({
      toml: "[health]\ncheck_interval_secs = \"5s\"\nretries = 3\n[reload]\nmax_held_streams = -1\n",
      env: { SIDECAR_MAX_CONCURRENT_STREAMS: "many" }
    })
    expect(exit.code).toBe(CONFIG)
    onlyLine(lines, ["[health] check_interval_secs"])
    onlyLine(lines, ["[health] retries"])
    onlyLine(lines, ["[reload] max_held_streams"])
    onlyLine(lines, ["SIDECAR_MAX_CONCURRENT_STREAMS"])
  })
})

describe.each(wires)("a sidecar on the %s wire", (wire) => {
  it("names a busy gRPC port in one line, exit code 69", async () => {
    const port = await busyPort()
    const { exit, lines } = await startInVain({ wire, env: { SIDECAR_BIND_ADDR: `127.0.0.1:${port}` } })
    expect(exit).toEqual({ code: UNAVAILABLE, signal: null })
    onlyLine(lines, [`127.0.0.1:${port}`, "in use", "bind_addr"])
  })

  it("names a busy metrics port in one line, exit code 69", async () => {
    const port = await busyPort()
    const { exit, lines } = await startInVain({ wire, env: { SIDECAR_METRICS_PORT: String(port) } })
    expect(exit).toEqual({ code: UNAVAILABLE, signal: null })
    onlyLine(lines, [String(port), "in use", "metrics_port"])
  })
})

describe("a sidecar on a Unix socket", () => {
  it("tells a missing folder as what it is, exit code 69", async () => {
    const { exit, lines } = await startInVain({ env: { SIDECAR_BIND_ADDR: "unix:///no/such/g.sock" } })
    expect(exit.code).toBe(UNAVAILABLE)
    onlyLine(lines, ["[server] bind_addr", "the folder of unix:///no/such/g.sock does not exist"])
    expect(lines.join("\n")).not.toContain("1023")
  })
})

describe("a sidecar that starts", () => {
  it.skipIf(process.platform !== "linux")("is called sidecar where processes are listed", async () => {
    const lab = await openLab({ worker: false })
    expect(fs.readFileSync(`/proc/${lab.sidecar.pid}/comm`, "utf8")).toBe("sidecar\n")
  })

  it("says in the order of the quick start what it does", async () => {
    const lab = await openLab()
    // Its lines may come later than its answers.
    for (const line of ["connected to worker", "metrics server listening", "gRPC server listening"]) {
      await lab.sidecar.log(line)
    }
    const said = lab.sidecar.logs.all.map((line) => String(line["msg"] ?? line["message"]).toLowerCase())
    const at = (words: string) => {
      const found = said.findIndex((line) => line.includes(words))
      expect([words, found >= 0 ? "said" : said]).toEqual([words, "said"])
      return found
    }
    const starting = at("cy-llm-sidecar")
    const loading = at("config")
    const connecting = at("connecting to worker")
    const connected = at("connected to worker")
    expect(starting).toBe(0)
    expect(loading).toBeGreaterThan(starting)
    expect(connecting).toBeGreaterThan(loading)
    expect(connected).toBeGreaterThan(connecting)
    at("metrics server listening")
    at("grpc server listening")
  })

  it("reads the file that SIDECAR_CONFIG names, and the environment over it", async () => {
    const lab = emptyLab()
    const socket = path.join(lab.folder, "from-env.sock")
    fs.writeFileSync(
      path.join(lab.folder, "custom.toml"),
      `[server]\nworker_uds = "unix:///nowhere.sock"\n[observability]\nlog_level = "warn"\n`
    )
    await lab.startSidecar({
      env: { SIDECAR_CONFIG: "custom.toml", SIDECAR_WORKER_UDS: `unix://${socket}`, SIDECAR_LOG_LEVEL: "debug" }
    })
    const line = await lab.sidecar.log("worker not connected (SocketMissing)")
    expect(JSON.stringify(line)).toContain(socket)
  })
})
