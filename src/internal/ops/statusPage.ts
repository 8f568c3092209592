import { createHash } from "node:crypto"
import type { StatusReport } from "../../services/StatusReport.ts"
import { statusPageScript } from "./statusPageScript.ts"
import { statusPageStyle } from "./statusPageStyle.ts"

const sha256 = (text: string): string => `'sha256-${createHash("sha256").update(text).digest("base64")}'`

/** What the page may do: run this script, use this style, ask this server. Nothing else, from nowhere else. */
export const statusPagePolicy = [
  "default-src 'none'",
  `script-src ${sha256(statusPageScript)}`,
  `style-src ${sha256(statusPageStyle)}`,
  "connect-src 'self'",
  "img-src data:",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'"
].join("; ")

/** JSON inside a `script` element: no `<` can end it, no line separator can break it. */
const embedded = (report: StatusReport): string =>
  JSON.stringify(report).replace(
    /[<>&\u2028\u2029]/g,
    (sign) => `\\u${sign.charCodeAt(0).toString(16).padStart(4, "0")}`
  )

/** The status page with its first report in it: one document without any resource from outside. */
export const statusPage = (report: StatusReport): string =>
  `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>cy-llm-sidecar</title>
<link rel="icon" id="icon" href="data:,">
<style>${statusPageStyle}</style>
</head>
<body>
<header>
<h1>cy-llm-sidecar</h1><span class="soft" id="who"></span><span class="soft" id="version"></span><span class="soft" id="uptime"></span>
<span class="soft"><a href="metrics">metrics</a> · <a href="readyz">readyz</a> · <a href="api/status">api/status</a></span>
</header>
<main>
<noscript><p class="banner warn">This page needs JavaScript; <a href="readyz">readyz</a> and
<a href="metrics">metrics</a> do not.</p></noscript>
<p id="news" class="unseen" role="status"></p>
<div id="lost" class="banner bad" hidden></div>
<div id="banner" class="banner"></div>
<div id="tiles" class="tiles"></div>
<div id="running"></div>
<div id="events"></div>
<div id="cards" class="cards"></div>
</main>
<script type="application/json" id="first">${embedded(report)}</script>
<script>${statusPageScript}</script>
</body>
</html>
`
