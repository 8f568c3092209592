import { type ChildProcess, spawn, spawnSync } from "node:child_process"
import * as fs from "node:fs"
import * as http from "node:http"
import type { AddressInfo } from "node:net"
import * as net from "node:net"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { expect, it, onTestFinished } from "vitest"
import { parse } from "yaml"
import { Program, startWorker, temporaryFolder } from "../cli/program.ts"
import { GrpcJsGateway } from "../support/grpcJsGateway.ts"
import { root } from "../support/node.ts"
import { request } from "../support/protobuf.ts"
import { soak } from "../support/run/soak.ts"

const missing = spawnSync("prometheus", ["--version"]).status !== 0
const read = (path: string) => fs.readFileSync(join(root, path), "utf8")

/** Ranges of minutes, in which operators think, are seconds here. */
const RANGE_SECONDS = 10
const shortened = (expression: string): string =>
  expression.replaceAll(/\[(?:\d+m|\$__rate_interval)\]/g, `[${RANGE_SECONDS}s]`).replaceAll("[7d]", "[1h]")
    .replaceAll("$instance", ".*").replaceAll("$job", "openmetrics")

interface Panel {
  readonly title: string
  readonly targets?: ReadonlyArray<{ readonly expr: string }>
}

/** Every expression that operators are given, by where it stands. */
const expressions = (): ReadonlyArray<readonly [string, string]> => {
  const { panels }: { readonly panels: ReadonlyArray<Panel> } = JSON.parse(read("deploy/grafana/cy-llm-sidecar.json"))
  const rules: {
    readonly groups: ReadonlyArray<{ readonly rules: ReadonlyArray<{ readonly alert: string; readonly expr: string }> }>
  } = parse(read("deploy/prometheus/sidecar-alerts.yml"))
  const promql = (page: string) =>
    Array.from(read(page).matchAll(/```promql\n([^]*?)```/g), ([, text = ""]) => text.split(/\n\n+/)).flat()
      .map((one) => one.replaceAll(/^#.*\n?/gm, "").trim()).filter((one) => one !== "")
      .map((one) => [page, one] as const)
  return [
    ...panels.flatMap(({ targets = [], title }) => targets.map(({ expr }) => [`dashboard: ${title}`, expr] as const)),
    ...rules.groups.flatMap((group) => group.rules.map(({ alert, expr }) => [`alert: ${alert}`, expr] as const)),
    ...promql("README.md"),
    ...promql("README.zh-CN.md"),
    ...promql("docs/metrics.md")
  ]
}

const freePort = (): Promise<number> =>
  new Promise((resolve) => {
    const server = net.createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address() as AddressInfo
      server.close(() => resolve(port))
    })
  })

/** The metrics port as a scraper sees it that knows only the text format. */
const textOnly = (metrics: string): Promise<string> =>
  new Promise((resolve) => {
    const server = http.createServer((_, response) => {
      http.get(`http://${metrics}/metrics`, (answer) => {
        response.writeHead(answer.statusCode ?? 500, answer.headers)
        answer.pipe(response)
      })
    }).listen(0, "127.0.0.1", () => resolve(`127.0.0.1:${(server.address() as AddressInfo).port}`))
    onTestFinished(() => void server.close())
  })

interface Sample {
  readonly metric: Readonly<Record<string, string>>
  readonly value: readonly [number, string]
}

/** Debian's Prometheus, which scrapes two addresses each second. */
const startPrometheus = async (targets: Readonly<Record<string, string>>) => {
  const folder = temporaryFolder()
  const port = await freePort()
  const jobs = Object.entries(targets).map(([job, target]) =>
    `  - { job_name: ${job}, static_configs: [{ targets: ["${target}"] }] }`
  )
  fs.writeFileSync(
    join(folder, "prometheus.yml"),
    ["global: { scrape_interval: 1s }", "scrape_configs:", ...jobs, ""].join("\n")
  )
  const child: ChildProcess = spawn("prometheus", [
    "--config.file=prometheus.yml",
    "--storage.tsdb.path=data",
    "--enable-feature=exemplar-storage",
    `--web.listen-address=127.0.0.1:${port}`
  ], { cwd: folder, stdio: ["ignore", "ignore", "pipe"] })
  const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()))
  onTestFinished(() => {
    child.kill()
    return exited
  })
  const api = async (path: string, query: string): Promise<unknown> => {
    const response = await fetch(`http://127.0.0.1:${port}/api/v1/${path}${encodeURIComponent(query)}`)
    const answer: { readonly status: string; readonly error?: string; readonly data: unknown } = JSON.parse(
      await response.text()
    )
    if (answer.status !== "success") throw new Error(`${query}: ${answer.error}`)
    return answer.data
  }
  await new Promise<void>((resolve, reject) => {
    let text = ""
    child.stderr!.setEncoding("utf8").on("data", (part: string) => {
      text += part
      if (text.includes("Server is ready")) resolve()
    })
    child.once("exit", () => reject(new Error(text)))
  })
  return {
    query: async (expression: string): Promise<ReadonlyArray<Sample>> => {
      const { result } = await api("query?query=", expression) as { readonly result: ReadonlyArray<Sample> }
      return result
    },
    exemplars: async (name: string) =>
      await api("query_exemplars?start=0&end=99999999999&query=", name) as ReadonlyArray<{
        readonly exemplars: ReadonlyArray<{ readonly labels: Readonly<Record<string, string>> }>
      }>
  }
}

// Real time, as Prometheus has no other: a minute, in the long form only.
it.skipIf(missing || !soak(true, false))(
  "a real Prometheus has an answer to every expression under load, in a reload and in an outage, and none improves",
  async () => {
    const worker = await startWorker("--tokens", "20", "--tokens-per-second", "100", "--reload-secs", "9")
    const sidecar = new Program([], {
      env: {
        SIDECAR_BIND_ADDR: "127.0.0.1:0",
        SIDECAR_METRICS_HOST: "127.0.0.1",
        SIDECAR_METRICS_PORT: "0",
        SIDECAR_CHECK_INTERVAL_SECS: "1",
        SIDECAR_MAX_WORKER_STREAMS: "5",
        SIDECAR_WORKER_UDS: worker.address
      }
    })
    const metrics = String(JSON.parse(await sidecar.line("metrics server listening")).address)
    const address = String(JSON.parse(await sidecar.line("gRPC server listening")).address)
    await sidecar.line("connected to worker")
    const prometheus = await startPrometheus({ openmetrics: metrics, text: await textOnly(metrics) })

    const gateway = new GrpcJsGateway(address)
    const stop = new AbortController()
    const users = Array.from({ length: 6 }, async (_, user) => {
      while (!stop.signal.aborted) {
        const call = gateway.call({ requests: [request({ traceId: `user-${user}` })], timeoutMillis: 20_000 })
        const { code } = await call.status
        if (code !== 0) await sleep(50)
      }
    })
    onTestFinished(async () => {
      stop.abort()
      await Promise.all(users)
      gateway.close()
    })

    const scalar = async (expression: string): Promise<number | undefined> => {
      const [first] = await prometheus.query(shortened(expression))
      return first === undefined || first.value[1] === "NaN" ? undefined : Number(first.value[1])
    }
    const given = expressions()
    expect(given.length).toBeGreaterThan(60)
    /** What all of them say once a whole range lies in this phase; those without any series. */
    const look = async () => {
      await sleep((RANGE_SECONDS + 3) * 1000)
      const silent: Array<string> = []
      for (const [place, expression] of given) {
        const found = await prometheus.query(shortened(expression))
        // A comparison that holds nowhere is an answer.
        if (found.length === 0 && !/[<>]|[!=]=/.test(expression)) silent.push(`${place}: ${expression}`)
      }
      const job = "{job=\"openmetrics\"}"
      return {
        silent,
        success: await scalar(
          `sum(rate(sidecar_requests_success_total${job}[5m])) / (sum(rate(sidecar_requests_success_total${job}[5m])) + `
            + `sum(rate(sidecar_requests_failed_total${job}[5m])))`
        ),
        tokens: await scalar(`sum(rate(sidecar_tokens_processed_total${job}[1m]))`),
        length: await scalar(
          `rate(sidecar_request_duration_seconds_sum${job}[5m]) / rate(sidecar_request_duration_seconds_count${job}[5m])`
        ),
        firstToken: await scalar(
          `histogram_quantile(0.95, sum by (le) (rate(sidecar_time_to_first_token_seconds_bucket${job}[5m])))`
        ),
        status: await scalar(`sidecar_worker_connection_status${job}`),
        held: await scalar(`max_over_time(sidecar_streams_held${job}[1m])`)
      }
    }

    const load = await look()
    expect(load.silent).toEqual([])
    expect(load).toMatchObject({ success: 1, status: 1, held: 0 })
    expect(load.tokens).toBeGreaterThan(100)
    // Both formats, whole, and exemplars from the one that has them.
    const scraped = await prometheus.query("scrape_samples_scraped")
    expect(scraped).toHaveLength(2)
    expect(scraped[0]!.value[1]).toBe(scraped[1]!.value[1])
    expect(await prometheus.query("up == 1")).toHaveLength(2)
    const traces = (await prometheus.exemplars("sidecar_time_to_first_token_seconds_bucket"))
      .flatMap(({ exemplars }) => exemplars.map(({ labels }) => labels["trace_id"]))
    expect(traces.length).toBeGreaterThan(0)
    for (const trace of traces) expect(trace).toMatch(/^user-\d$/)

    worker.program.child.kill("SIGUSR1")
    await sidecar.line("reloading")
    // Those who are at the worker wait there; whoever comes now is held.
    const late = Array.from({ length: 3 }, () => gateway.call({ requests: [request()] }).status)
    const reload = await look()
    expect(reload.silent).toEqual([])
    expect(reload.held).toBeGreaterThan(0)
    expect(reload.success).toBeLessThanOrEqual(1)
    expect(reload.tokens).toBeLessThan(load.tokens!)
    expect(reload.length).toBeGreaterThan(load.length!)
    expect(reload.firstToken).toBeGreaterThan(load.firstToken!)

    expect((await Promise.all(late)).map(({ code }) => code)).toEqual([0, 0, 0])

    worker.program.child.kill("SIGKILL")
    const outage = await look()
    expect(outage.silent).toEqual([])
    expect(outage.status).toBe(0)
    expect([outage.success, outage.tokens]).toEqual([0, 0])
    // Nothing, and no better figure.
    expect([outage.length, outage.firstToken]).toEqual([undefined, undefined])
    expect(await scalar("sum(rate(sidecar_refusals_total{job=\"openmetrics\",reason=\"worker_disconnected\"}[5m]))"))
      .toBeGreaterThan(1)
    expect(await prometheus.query("sidecar_worker_health")).toEqual([])
  }
)
