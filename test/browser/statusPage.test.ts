import * as fs from "node:fs"
import { createRequire } from "node:module"
import * as path from "node:path"
import { type Browser, chromium, type Page } from "playwright-core"
import { describe, expect, it, onTestFinished } from "vitest"
import { Program, run, startWorker, temporaryFolder } from "../cli/program.ts"
import { GrpcJsGateway } from "../support/grpcJsGateway.ts"
import { request } from "../support/protobuf.ts"

/** The distribution's; `apt-get install chromium`. */
const executablePath = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find((file) =>
  fs.existsSync(file)
)
const axe = createRequire(import.meta.url).resolve("axe-core/axe.min.js")

/** Pictures for the documents are made anew by `SCREENSHOTS=1 npm run test:soak -- test/browser`. */
const pictures = process.env["SCREENSHOTS"] === "1"
  ? path.join(import.meta.dirname, "../../docs")
  : undefined

// What runs in the browser is text: this program has no DOM, and its types know none.

/** What a screen reader, a keyboard or an eye would stumble over. */
const findings = (page: Page): Promise<ReadonlyArray<string>> =>
  page.evaluate(`axe.run().then(({ violations }) => violations.flatMap(({ id, nodes }) =>
    nodes.map(({ failureSummary, html }) => id + ": " + html + " " + failureSummary)))`)

/** Wider than the screen: something has to be scrolled sideways. */
const isTooWide = (page: Page): Promise<boolean> =>
  page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")

/** Waits until the banner says so. The page's policy allows no `eval`, so that only what is there can be waited for. */
const banner = (page: Page, text: string): Promise<void> =>
  page.locator(".banner:not([hidden]) h2", { hasText: new RegExp(`^${text}`) }).first().waitFor()

const polled = (page: Page): Promise<unknown> =>
  page.waitForResponse((response) => response.url().endsWith("api/status"))

const themes = [["light", 1200], ["dark", 1200], ["light", 390], ["dark", 390]] as const

/** Light and dark, wide and on a phone: nothing found, nothing cut off; a picture where one is wanted. */
const look = async (page: Page, name: string, wanted: ReadonlyArray<string> = []): Promise<void> => {
  await page.evaluate("getSelection().removeAllRanges()")
  for (const [colorScheme, width] of themes) {
    await page.emulateMedia({ colorScheme })
    await page.setViewportSize({ width, height: 900 })
    expect([name, colorScheme, width, await isTooWide(page)]).toEqual([name, colorScheme, width, false])
    expect([name, colorScheme, width, await findings(page)]).toEqual([name, colorScheme, width, []])
    const label = width < 500 ? "phone" : colorScheme
    if (pictures !== undefined && wanted.includes(`${label}-${colorScheme}`)) {
      await page.screenshot({
        path: path.join(pictures, `status-page-${name}-${label}.png`),
        fullPage: label !== "phone"
      })
    }
  }
  await page.emulateMedia({ colorScheme: "light" })
  await page.setViewportSize({ width: 1200, height: 900 })
}

/** How often a screen reader was told something while the page was asked twice. */
const announcements = async (page: Page): Promise<number> => {
  await page.evaluate(`globalThis.told = 0
    new MutationObserver((changes) => { told += changes.length })
      .observe(document.getElementById("news"), { childList: true, characterData: true, subtree: true })`)
  await polled(page)
  await polled(page)
  return page.evaluate("told")
}

const select = (page: Page, selector: string): Promise<string> =>
  page.evaluate(
    `getSelection().selectAllChildren(document.querySelector(${JSON.stringify(selector)})), String(getSelection())`
  )

const selected = (page: Page): Promise<string> => page.evaluate("String(getSelection())")

describe.skipIf(executablePath === undefined)("the status page in a browser", () => {
  it("tells the truth under load, in a reload, an outage, a drain, and after the end", async () => {
    const worker = await startWorker("--tokens", "3000", "--tokens-per-second", "30", "--reload-secs", "8")
    const sidecar = new Program([], {
      cwd: temporaryFolder(),
      env: {
        SIDECAR_BIND_ADDR: "127.0.0.1:0",
        SIDECAR_METRICS_HOST: "127.0.0.1",
        SIDECAR_METRICS_PORT: "0",
        SIDECAR_WORKER_UDS: worker.address,
        SIDECAR_MAX_WORKER_STREAMS: "5",
        SIDECAR_RECONNECT_DELAY_SECS: "3600",
        SIDECAR_CHECK_INTERVAL_SECS: "0.5"
      }
    })
    const ops = String(JSON.parse(await sidecar.line("metrics server listening")).address)
    const address = String(JSON.parse(await sidecar.line("gRPC server listening")).address)
    await sidecar.line("connected to worker")
    const gateway = new GrpcJsGateway(address)
    onTestFinished(() => gateway.close())
    const calls = Array.from(
      { length: 7 },
      (_, n) => gateway.call({ requests: [request({ model: `qwen-${n % 2 === 0 ? 7 : 72}b` })] })
    )
    await calls[0]?.messages.count(3, "tokens")

    const browser: Browser = await chromium.launch({
      ...(executablePath === undefined ? {} : { executablePath }),
      args: ["--no-sandbox"]
    })
    onTestFinished(() => browser.close())
    const page = await browser.newPage()
    const said: Array<string> = []
    page.on("console", (message) => said.push(message.text()))
    page.on("pageerror", (error) => said.push(String(error)))
    await page.addInitScript({ path: axe })
    await page.goto(`http://${ops}/`)

    await banner(page, "Connected")
    expect(await page.title()).toMatch(/^Connected · 7 streams · /)
    expect(await page.textContent("#who")).toMatch(new RegExp(`pid ${sidecar.child.pid} · `))
    // The chart has its axis once two steps of five seconds are over.
    await page.waitForSelector(".chart .scale")
    expect(await page.textContent(".chart")).toMatch(/max .* before\d+:\d\d:\d\d/)
    expect(await page.locator("#running tbody tr").count()).toBe(7)
    expect(await page.textContent("#running")).toContain("queued")
    expect(await announcements(page)).toBe(0)
    const limits = await select(page, "section:has(meter)")
    await polled(page)
    await polled(page)
    expect(await selected(page)).toContain("max_concurrent_streams")
    expect(limits).toContain("7 of 1,000")
    await look(page, "load", ["light-light", "dark-dark", "phone-light"])

    worker.program.child.kill("SIGUSR1")
    await banner(page, "Reloading")
    expect(await page.textContent("#news")).toContain("Reloading")
    await look(page, "reload")
    await banner(page, "Connected")

    worker.program.child.kill("SIGKILL")
    await banner(page, "Disconnected")
    await page.waitForSelector(".aged .sub")
    expect(await page.textContent(".aged .sub")).toMatch(/of its last answer, before .* ago/)
    const remedy = await select(page, "#banner p:nth-of-type(2)")
    expect(remedy).toContain("What to do: ")
    await polled(page)
    await polled(page)
    expect(await selected(page)).toBe(remedy)
    expect((await gateway.call({ requests: [request()] }).status).code).toBe(14)
    await page.locator("#cards", { hasText: "worker_disconnected" }).waitFor()
    expect(await page.textContent("#events")).toContain("streams are refused: worker_disconnected")
    // Long words wrap: what stands behind them can be seen.
    expect(
      await page.evaluate(
        "(({ scrollWidth, clientWidth }) => scrollWidth - clientWidth)(document.querySelector('#events .scroll'))"
      )
    ).toBe(0)
    await look(page, "outage", ["light-light", "phone-dark"])

    await run(["drain", "--addr", address])
    await banner(page, "Draining")
    expect(await page.textContent("#banner")).toContain("sidecar undrain")
    await look(page, "drain")
    expect(said).toEqual([])

    sidecar.child.kill("SIGKILL")
    await banner(page, "Not answering")
    expect(await page.title()).toBe("Not answering · cy-llm-sidecar")
    expect(await page.getAttribute("#icon", "href")).toContain("777")
    expect(await page.textContent("#lost")).toMatch(/has not answered since .*as it was then, .* ago/)
    expect(await page.textContent("#news")).toBe("The sidecar does not answer")
    await look(page, "dead", ["light-light"])
    // The browser itself tells that nobody answers; the page adds nothing to it.
    expect(said.filter((text) => !text.startsWith("Failed to load resource: net::ERR_"))).toEqual([])
  })
})
