/**
 * A rehearsal of a fleet on one machine: workers, a sidecar beside each, gateways that balance over all of them, a real NATS
 * JetStream for usage, Prometheus where it is installed. Under load all models are reloaded one after the other, all
 * sidecars and all workers restarted, and two workers killed. At the end the account: streams, ends by reason, tokens by
 * the gateways and by the broker. Exits with 1 when something does not add up.
 *
 *     node examples/fleet/main.ts                 8 workers, 200 streams a second, two minutes
 *     node examples/fleet/main.ts --short         2 workers, 20 streams a second, 20 seconds
 *     node examples/fleet/main.ts --policy NAME   another policy of the gateways than round_robin; --slow: one worker is slow
 *
 * Needs Debian's nats-server; python3-grpcio and prometheus where they are installed.
 */
import { jetstreamManager } from "@nats-io/jetstream"
import { connect } from "@nats-io/transport-node"
import { spawnSync } from "node:child_process"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { setTimeout as delay } from "node:timers/promises"
import { parseArgs } from "node:util"
import { type BrokerAccount, type GatewayAccount, settle } from "./account.ts"
import { freePort, Member, Process } from "./processes.ts"

const { values } = parseArgs({
  options: {
    short: { type: "boolean", default: false },
    slow: { type: "boolean", default: false },
    policy: { type: "string", default: "round_robin" },
    members: { type: "string" },
    rate: { type: "string" },
    seconds: { type: "string" }
  }
})
const members = Number(values.members ?? (values.short ? 2 : 8))
const rate = Number(values.rate ?? (values.short ? 20 : 200))
const seconds = Number(values.seconds ?? (values.short ? 20 : 120))

const STREAM = "USAGE"
const SUBJECT = "usage.records"
const WORKER = ["--tokens", "16", "--tokens-per-second", "160", "--reload-secs", values.short ? "1" : "3"]
const SLOW_WORKER = ["--tokens", "16", "--tokens-per-second", "20", "--reload-secs", "3", "--threads", "10"]

const began = performance.now()
const say = (text: string): void =>
  void process.stdout.write(`${((performance.now() - began) / 1000).toFixed(1).padStart(6)} s  ${text}\n`)
const installed = (command: string): boolean => spawnSync("which", [command]).status === 0

const folder = fs.mkdtempSync(path.join(os.tmpdir(), "fleet-"))

const startNats = async (): Promise<{ readonly process: Process; readonly address: string }> => {
  const address = `127.0.0.1:${await freePort()}`
  const config = path.join(folder, "nats.conf")
  fs.writeFileSync(config, `listen: "${address}"\njetstream { store_dir: "${path.join(folder, "nats")}" }\n`)
  const nats = new Process("nats-server", ["-c", config], { env: { PATH: `${process.env["PATH"]}:/usr/sbin` } })
  await nats.says("Server is ready")
  const connection = await connect({ servers: address })
  await (await jetstreamManager(connection)).streams.add({ name: STREAM, subjects: [SUBJECT] })
  await connection.close()
  return { process: nats, address }
}

/** All that the broker holds. */
const readBroker = async (address: string): Promise<BrokerAccount> => {
  const connection = await connect({ servers: address })
  try {
    const manager = await jetstreamManager(connection)
    const { state } = await manager.streams.info(STREAM)
    const seen = new Set<string>()
    const outcomes: Record<string, number> = {}
    let [messages, twice, tokens] = [0, 0, 0]
    for (let seq = state.first_seq; state.messages > 0 && seq <= state.last_seq; seq++) {
      const record = (await manager.streams.getMessage(STREAM, { seq }))?.json<
        { readonly record_id: string; readonly tokens_generated: number; readonly outcome: string }
      >()
      if (record === undefined) continue
      messages++
      if (seen.has(record.record_id)) twice++
      else {
        seen.add(record.record_id)
        tokens += record.tokens_generated
        outcomes[record.outcome] = (outcomes[record.outcome] ?? 0) + 1
      }
    }
    return { messages, twice, tokens, outcomes }
  } finally {
    await connection.close()
  }
}

const startPrometheus = async (fleet: ReadonlyArray<Member>): Promise<string | undefined> => {
  if (!installed("prometheus")) return undefined
  const targets = fleet.map(({ metricsPort }) => `"127.0.0.1:${metricsPort}"`).join(", ")
  const config = path.join(folder, "prometheus.yml")
  fs.writeFileSync(
    config,
    `global: { scrape_interval: 1s }\nscrape_configs: [{ job_name: sidecar, static_configs: [{ targets: [${targets}] }] }]\n`
  )
  const address = `127.0.0.1:${await freePort()}`
  const prometheus = new Process("prometheus", [
    `--config.file=${config}`,
    `--storage.tsdb.path=${path.join(folder, "prometheus")}`,
    `--web.listen-address=${address}`
  ])
  await prometheus.says("Server is ready")
  return address
}

/** One number that Prometheus answers. */
const ask = async (address: string, query: string): Promise<string> => {
  const response = await fetch(`http://${address}/api/v1/query?query=${encodeURIComponent(query)}`)
  const { data }: { data?: { result?: ReadonlyArray<{ value: readonly [number, string] }> } } = JSON.parse(
    await response.text()
  )
  return Number(data?.result?.[0]?.value[1] ?? Number.NaN).toFixed(0)
}

/** What happens to the fleet while the gateways ask; `at`: seconds. */
const disturb = async (fleet: ReadonlyArray<Member>): Promise<void> => {
  const pause = values.short ? 1500 : 4000
  await delay(values.short ? 1500 : 5000)
  for (const [at, member] of fleet.entries()) {
    say(`model of worker ${at} is loaded anew`)
    member.reload()
    await delay(pause)
  }
  for (const [at, member] of fleet.entries()) {
    await member.restartSidecar()
    say(`sidecar ${at} was restarted`)
    // As an orchestrator waits for the next one: gateways find it again.
    await delay(1000)
  }
  for (const at of [0, members - 1]) {
    say(`worker ${at} is killed`)
    await fleet[at]?.restartWorker("SIGKILL", 1000)
    await delay(pause / 2)
  }
  for (const [at, member] of fleet.entries()) {
    await member.restartWorker("SIGTERM", 0)
    say(`worker ${at} was restarted`)
  }
}

const accountOf = async (gateway: Process): Promise<GatewayAccount> => {
  await gateway.gone
  const line = gateway.output.split("\n").findLast((line) => line.startsWith("{"))
  if (line === undefined) throw new Error(`a gateway told no account:\n${gateway.output}`)
  return JSON.parse(line)
}

try {
  const nats = await startNats()
  const metering = `billing_endpoint = "nats://${nats.address}/${SUBJECT}"`
  const fleet = await Promise.all(
    Array.from(
      { length: members },
      (_, at) => Member.start(path.join(folder, String(at)), values.slow && at === 0 ? SLOW_WORKER : WORKER, metering)
    )
  )
  const prometheus = await startPrometheus(fleet)
  say(`${members} workers, ${members} sidecars, NATS${prometheus === undefined ? "" : ", Prometheus"}: all there`)
  const target = `ipv4:${fleet.map(({ port }) => `127.0.0.1:${port}`).join(",")}`
  // C-core of Debian has no such policy: it would blur the picture.
  const python = !values.slow && spawnSync("/usr/bin/python3", ["-c", "import grpc"]).status === 0
  const args = [target, String(python ? rate / 2 : rate), String(seconds), values.policy]
  const gateways: Record<string, Process> = {
    "grpc-js": new Process(process.execPath, [path.join(import.meta.dirname, "gateway.ts"), ...args]),
    ...(python
      ? { "C-core": new Process("/usr/bin/python3", [path.join(import.meta.dirname, "gateway.py"), ...args]) }
      : {})
  }
  if (!values.slow) await disturb(fleet)
  const accounts: Record<string, GatewayAccount> = {}
  for (const [name, gateway] of Object.entries(gateways)) accounts[name] = await accountOf(gateway)
  say("the gateways are done; the last records leave")
  for (const member of fleet) {
    while (await member.figure("sidecar_usage_tokens{state=\"waiting\"}") > 0) await delay(100)
    await member.end()
  }
  const broker = await readBroker(nats.address)
  const { faults, lines } = settle(accounts, broker)
  for (const line of lines) say(line)
  if (prometheus !== undefined) {
    const window = `[${Math.ceil((performance.now() - began) / 1000)}s]`
    say(
      `Prometheus: about ${await ask(
        prometheus,
        `sum(increase(sidecar_requests_total${window}))`
      )} streams at ${await ask(
        prometheus,
        "count(count_over_time(up[5m]))"
      )} sidecars`
    )
  }
  for (const fault of faults) say(`NOT IN ORDER: ${fault}`)
  if (faults.length === 0) say("all in order")
  process.exitCode = faults.length === 0 ? 0 : 1
} catch (error) {
  say(String(error))
  process.exitCode = 1
} finally {
  process.once("exit", () => fs.rmSync(folder, { recursive: true, force: true }))
  process.exit()
}
