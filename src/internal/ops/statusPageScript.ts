/**
 * The script of the status page: shows a report (`services/StatusReport`), fetches the next one every two seconds.
 * It writes with `textContent` only, so that no text of a worker or a gateway can become markup; and it changes only what
 * has changed, so that selected text stays selected. A screen reader is told of another status, not of every second.
 */
export const statusPageScript = `"use strict"
const el = (tag, props, ...kids) => {
  const node = document.createElement(tag)
  Object.assign(node, props)
  node.append(...kids.filter((kid) => kid !== null && kid !== undefined))
  return node
}
const by = (id) => document.getElementById(id)
const morph = (old, wanted) => {
  for (const { name } of [...old.attributes]) if (!wanted.hasAttribute(name) && name !== "open") old.removeAttribute(name)
  for (const { name, value } of wanted.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value)
  const [before, after] = [[...old.childNodes], [...wanted.childNodes]]
  after.forEach((kid, i) => {
    const now = before[i]
    if (now === undefined) old.append(kid)
    else if (now.nodeType === 3 && kid.nodeType === 3) { if (now.data !== kid.data) now.data = kid.data }
    else if (now.nodeType === 1 && now.nodeName === kid.nodeName) morph(now, kid)
    else now.replaceWith(kid)
  })
  for (const kid of before.slice(after.length)) kid.remove()
}
const fill = (id, ...kids) => {
  const wanted = by(id).cloneNode(false)
  wanted.append(...kids.filter((kid) => kid !== null && kid !== undefined))
  morph(by(id), wanted)
}
const number = new Intl.NumberFormat("en", { maximumFractionDigits: 0 })
const short = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 })
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 4 })
const count = (value) => value < 100000 ? number.format(value) : compact.format(value)
const rate = (value) => value < 100 ? short.format(value) : count(value)
const percent = (ratio) => ratio === 1 ? "100" : (Math.floor(ratio * 10000) / 100).toFixed(ratio > 0.99 ? 2 : 1)
const seconds = (value) => {
  if (value === null || value === undefined) return "–"
  if (value < 0.001) return short.format(value * 1e6) + " µs"
  if (value < 1) return short.format(value * 1000) + " ms"
  return value < 100 ? short.format(value) + " s" : span(value)
}
const span = (value) => {
  const whole = Math.max(0, Math.round(value))
  const [d, h, m, s] = [Math.floor(whole / 86400), Math.floor(whole / 3600) % 24, Math.floor(whole / 60) % 60, whole % 60]
  return d > 0 ? d + " d " + h + " h" : h > 0 ? h + " h " + m + " min" : m > 0 ? m + " min " + s + " s" : s + " s"
}
const lately = (recent) => "last " + (recent.seconds < 120 ? span(recent.seconds) : Math.round(recent.seconds / 60) + " min")
const bytes = (value) => {
  const unit = [["GiB", 2 ** 30], ["MiB", 2 ** 20], ["KiB", 1024]].find(([, size]) => value >= size)
  return unit ? short.format(value / unit[1]) + " " + unit[0] : number.format(value) + " B"
}
const amount = (name, value) => name.endsWith("_bytes") ? bytes(value) : count(value)
const clock = (time) => new Date(time).toLocaleTimeString()
const away = (report, time) => (Date.parse(time) - Date.parse(report.now)) / 1000
const words = {
  connected: ["Connected", "ok"], connecting: ["Connecting", "warn"],
  reloading: ["Reloading", "warn"], disconnected: ["Disconnected", "bad"]
}
const banner = (report) => {
  const r = report.readiness
  const [word, tone] = r.draining ? ["Draining", "warn"] : words[r.status]
  const lasting = span(-away(report, r.since))
  const told = r.status === "connected" ? "worker connected for " + lasting
    : r.status === "reloading" ? "worker " + r.status + " for " + lasting
    : "no worker for " + lasting
  const label = (text) => el("b", { textContent: text })
  const next = r.retry_at === null ? null
    : away(report, r.retry_at) > 0.5 ? "Next attempt in " + span(away(report, r.retry_at)) + "." : "Trying again now."
  const back = r.back_at === null ? null
    : away(report, r.back_at) > 0 ? "Expected back in " + span(away(report, r.back_at)) + "." : "Expected back by now."
  by("banner").className = "banner " + tone
  const news = word + (r.reason && r.reason !== word ? ", " + r.reason : "")
  if (by("news").textContent !== news) by("news").textContent = news
  fill("banner",
    el("h2", {}, word, el("small", { textContent: told })),
    r.detail ? el("p", {}, r.reason !== word && !r.detail.startsWith(r.reason.toLowerCase()) ? label(r.reason + ": ") : null, r.detail) : null,
    r.remedy ? el("p", {}, label("What to do: "), r.remedy) : null,
    next || back ? el("p", { className: "soft", textContent: next || back }) : null)
  icon({ ok: "#1a9a4f", warn: "#d98a00", bad: "#d33" }[tone])
  const streams = r.streams_in_flight + (r.streams_in_flight === 1 ? " stream" : " streams")
  document.title = word + " · " + streams + " · " + report.identity.host
}
const icon = (colour) => {
  const image = "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'><circle cx='8' cy='8' r='7' fill='" +
    colour + "'/></svg>"
  by("icon").href = "data:image/svg+xml," + encodeURIComponent(image)
}
const spark = ({ history, history_step_seconds: step }, now) => {
  if (history.length < 2) return null
  const top = Math.max(...history, 1)
  const points = history.map((value, i) =>
    (i / (history.length - 1) * 100).toFixed(2) + "," + (30 - value / top * 28).toFixed(2))
  const space = "http://www.w3.org/2000/svg"
  const svg = document.createElementNS(space, "svg")
  svg.setAttribute("viewBox", "0 0 100 30")
  svg.setAttribute("preserveAspectRatio", "none")
  svg.setAttribute("role", "img")
  svg.setAttribute("aria-label", "tokens a second over " + span(history.length * step) + ", at most " + rate(Math.max(...history)))
  for (const [name, d] of [["area", "M0,30 L" + points.join(" L") + " L100,30 Z"], ["line", "M" + points.join(" L")]]) {
    const path = document.createElementNS(space, "path")
    path.setAttribute("class", name)
    path.setAttribute("d", d)
    svg.append(path)
  }
  return el("div", { className: "chart" },
    el("div", { className: "scale" }, el("span", { textContent: "max " + rate(Math.max(...history)) })), svg,
    el("div", { className: "scale" }, el("span", { textContent: span(history.length * step) + " before" }), el("span", { textContent: clock(now) })))
}
const tile = (title, big, unit, sub, options) => el("div", { className: "tile " + (options?.tone ?? "") },
  el("h3", { textContent: title }),
  el("div", { className: "big" }, big, unit ? el("small", { textContent: unit }) : null),
  options?.chart ?? null,
  sub ? el("div", { className: "sub", textContent: sub }) : null)
const tiles = (report) => {
  const { streams, tokens, recent, latency, usage } = report
  const over = lately(recent)
  const first = latency.first_token ?? {}
  const waits = [streams.held ? streams.held + " held" : "", streams.queued ? streams.queued + " queued" : ""]
    .filter(Boolean).join(", ")
  const ratio = recent.success_ratio
  const ended = recent.success + recent.failed
  const { journal, billing } = report.readiness
  const stuck = usage.set_aside > 0 || journal?.status === "failing" || usage.waiting >= usage.queue_size
  fill("tiles",
    tile("Tokens a second", rate(tokens.per_second), "", count(tokens.total) + " since start",
      { chart: spark(tokens, report.now), tone: "wide" }),
    tile("Streams in flight", count(streams.in_flight), "of " + count(streams.limit), waits || "none waits",
      { tone: streams.in_flight >= streams.limit ? "alert bad" : streams.held + streams.queued > 0 ? "alert warn" : "" }),
    tile("Success", ratio === null ? "–" : percent(ratio), ratio === null ? "" : "%",
      ended === 0 ? "no stream ended, " + over : recent.failed + " of " + count(ended) + " failed, " + over,
      { tone: ratio === null || ratio >= 0.99 ? "" : ratio >= 0.9 ? "alert warn" : "alert bad" }),
    tile("First token, p50", seconds(first.p50), "", "p95 " + seconds(first.p95) + ", " + over),
    tile("Usage waiting", count(usage.waiting), "",
      journal?.status === "failing" ? "journal " + journal.reason + ", " + count(journal.unsaved) + " in memory" : billing?.status === "failing" ? "billing " + billing.reason.replace("_", " ") + ", oldest " + span(usage.lag_seconds) : usage.billing ? usage.waiting > 0 ? "oldest " + span(usage.lag_seconds) : "all delivered" : "kept, nowhere to report",
      { tone: stuck ? "alert bad" : billing?.status === "failing" ? "alert warn" : "" }))
}
const tag = (text, tone) => el("span", { className: "tag " + tone, textContent: text })
const row = (name, ...cells) => el("tr", {}, el("th", { scope: "row", textContent: name }),
  ...cells.map((cell) => el("td", {}, cell)))
const headCell = (cell) => cell === "" ? el("td", {}) : el("th", { scope: "col", textContent: cell })
const card = (title, head, rows, options) => rows.length === 0 ? null : el("section", { className: "card " + (options?.tone ?? "") },
  el("h3", { textContent: title }),
  el("div", { className: "scroll", tabIndex: 0, role: "region", ariaLabel: title },
    el("table", {},
      head ? el("thead", {}, el("tr", {}, ...head.map(headCell))) : null,
      el("tbody", {}, ...rows))),
  options?.note ? el("div", { className: "sub", textContent: options.note }) : null)
const near = ({ name, value, limit }) => {
  const ratio = value / limit
  const tone = ratio >= 1 ? "bad" : ratio >= 0.8 ? "warn" : "ok"
  return row(name, el("span", {}, tone === "ok" ? null : tag(tone === "bad" ? "full" : "near", tone), tone === "ok" ? null : " ",
    amount(name, value) + " of " + amount(name, limit), " ",
    el("meter", { max: limit, value: Math.min(value, limit), high: limit * 0.8, ariaLabel: name })))
}
const eventRow = (event, report) => {
  const long = event.seconds === null ? "" : (event.lasting ? "for " : "") + span(event.seconds)
  const often = event.kind === "refusals" ? event.count + (event.count === 1 ? " stream" : " streams") : event.count > 1 ? event.count + " times" : ""
  return el("tr", { className: event.level === "warn" ? "warned" : "" },
    el("td", { className: "time" }, clock(event.at)), el("td", {}, tag(event.kind, event.level === "warn" ? "warn" : "")),
    el("td", { className: "text" }, event.text, event.lasting ? " " : null, event.lasting ? tag("still so", "") : null),
    el("td", { className: "time" }, [often, long].filter(Boolean).join(", ")))
}
const runningRow = (stream) => el("tr", {},
  el("th", { scope: "row", textContent: stream.id.slice(-8), title: stream.id }),
  el("td", {}, stream.state === "at the worker" ? stream.state : tag(stream.state, "warn")),
  ...[stream.model || "–", stream.tenant || "–", stream.peer, stream.deadline_seconds === null ? "–" : span(stream.deadline_seconds),
    span(stream.age_seconds), count(stream.tokens), rate(stream.tokens_per_second)].map((text) => el("td", {}, text)))
const latencyRow = (latency, key, name) => {
  const q = latency[key]
  return q && q.count > 0 ? [row(name, seconds(q.p50), seconds(q.p95), seconds(q.p99))] : []
}
const cards = (report) => {
  const { config, latency, outcomes, readiness, recent, streams, usage, worker } = report
  const { journal, billing } = readiness
  fill("cards",
    card("Latency, " + lately(recent), ["", "p50", "p95", "p99"], [
      ...latencyRow(latency, "first_token", "First token"), ...latencyRow(latency, "inter_token", "Between tokens"),
      ...latencyRow(latency, "duration", "Whole stream"), ...latencyRow(latency, "overhead", "Added by the sidecar"),
      ...latencyRow(latency, "cancel", "Cancel to the worker")
    ]),
    card("Streams since start", null, [
      row("all", count(streams.total)),
      ...outcomes.map(([name, value]) => row(name.replace("_", " "), count(value))),
      ...(streams.replayed > 0 ? [row("sent again after a broken link", count(streams.replayed))] : [])
    ]),
    card("Tokens by model", null, report.models.map(([name, value]) => row(name, count(value)))),
    card("Usage", null, [
      ...(journal ? [row("journal", journal.status === "ok" ? tag("ok", "ok") : tag(journal.reason, "bad"))] : []),
      ...(journal && journal.detail ? [row("trouble", journal.detail)] : []),
      ...(journal && journal.unsaved > 0 ? [row("only in memory", count(journal.unsaved))] : []),
      row("waiting", count(usage.waiting) + " of " + count(usage.queue_size)),
      ...(usage.set_aside > 0 ? [row("set aside", tag(count(usage.set_aside), "bad"))] : []),
      row("acknowledged", count(usage.acknowledged)),
      row("billing service",
        billing?.status === "failing" ? tag(billing.reason.replace("_", " "), "bad") : usage.billing ? "configured" : "none"),
      ...(billing && billing.detail ? [row("its trouble", billing.detail)] : []),
      ...(billing && billing.remedy ? [row("remedy", billing.remedy)] : [])
    ]),
    card("Worker", null, [
      row("circuit breaker", worker.circuit === "closed" ? "closed" : tag(worker.circuit, "bad")),
      row("reconnects", count(worker.reconnects)), row("connection errors", count(worker.connection_errors)),
      ...(worker.health ? worker.health.metrics.map(([name, value]) => row(name, value)) : [])
    ], worker.health && worker.health.as_of && worker.health.metrics.length > 0
      ? { tone: "aged", note: "its own figures are of its last answer, before " + clock(worker.health.as_of) + ", " + span(-away(report, worker.health.as_of)) + " ago" }
      : {}),
    card("Refusals since start", null, report.refusals.map(([reason, value]) => row(reason, count(value)))),
    card("Limits", null, report.limits.map(near)),
    card("This process", null, [
      row("memory", bytes(report.process.rss_bytes)),
      row("CPU", short.format(report.process.cpu_ratio * 100) + " % of a core"),
      row("event loop late, p90", seconds(report.process.loop_p90_seconds)),
      ...(report.process.open_fds === null ? [] : [row("open files", count(report.process.open_fds))])
    ]),
    card("Configuration", null, [
      row("gateways connect to", config.gateway_address.join(", ")), row("TLS", config.tls),
      row("streams at the worker", config.max_worker_streams === 0 ? "no cap" : count(config.max_worker_streams)),
      row("held for at most", span(config.hold_timeout_secs)), row("drain for at most", span(config.drain_timeout_secs)),
      row("journal survives a", config.durability.replace("-", " ")), row("log level", config.log_level)
    ]))
  const more = streams.in_flight - report.running.length
  fill("running", card("Streams under way" + (more > 0 ? ", the oldest" : ""), ["id", "state", "model", "tenant", "gateway", "deadline", "age", "tokens", "tokens/s"],
    report.running.map(runningRow), { note: more > 0 ? "and " + count(more) + " younger ones: sidecar streams" : "" }))
  fill("events", card("What happened", ["when", "about", "what", "how long"], report.events.toReversed().map((event) => eventRow(event, report)), { tone: "long" }))
}
const show = (report) => {
  by("version").textContent = report.version
  by("uptime").textContent = "up " + span(report.uptime_seconds)
  const { host, pid, sidecar_id: id } = report.identity
  by("who").textContent = host + " · pid " + pid + (id ? " · " + id : "")
  banner(report)
  tiles(report)
  cards(report)
}
let last = null
let lost = null
const dead = () => {
  const ago = span((Date.now() - lost) / 1000)
  document.body.classList.add("dead")
  document.title = "Not answering · cy-llm-sidecar"
  icon("#777")
  by("lost").hidden = false
  fill("lost", el("h2", {}, "Not answering", el("small", { textContent: "for " + ago })),
    el("p", {}, "The sidecar at " + location.host + " has not answered since " + clock(lost) + ". Everything below is as it was then, " + ago + " ago."),
    el("p", {}, el("b", { textContent: "What to do: " }), "see whether its process runs (" + by("who").textContent + "), and its log."))
  const news = "The sidecar does not answer"
  if (by("news").textContent !== news) by("news").textContent = news
}
const alive = () => {
  lost = null
  document.body.classList.remove("dead")
  by("lost").hidden = true
}
const poll = async () => {
  try {
    const answer = await fetch("api/status", { cache: "no-store", signal: AbortSignal.timeout(5000) })
    const report = await answer.json()
    alive()
    show(report)
    last = Date.now()
  } catch {
    lost ??= last
    dead()
  }
  setTimeout(poll, document.hidden ? 10000 : 2000)
}
show(JSON.parse(by("first").textContent))
last = Date.now()
setTimeout(poll, 2000)
`
