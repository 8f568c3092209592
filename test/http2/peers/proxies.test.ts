import * as fs from "node:fs"
import * as path from "node:path"
import { assert, describe, it, onTestFinished } from "vitest"
import { CA_FILE, CERT_FILE, EchoClient, type EchoServer, KEY_FILE, startEcho } from "./echo.ts"
import { folder, freePort, has, serve } from "./peer.ts"

/** Somebody else's proxy in the middle: our client is on its one side, our server on the other, so each is tried twice. */

interface Route {
  readonly port: number
  readonly secure: boolean
  readonly server: EchoServer
  readonly folder: string
}

const nginx = ({ folder, port, secure, server }: Route): ReadonlyArray<string> => {
  const upstream = `${secure ? "grpcs" : "grpc"}://127.0.0.1:${server.port}`
  fs.writeFileSync(
    path.join(folder, "nginx.conf"),
    `
${process.getuid?.() === 0 ? "user root;" : ""}
daemon off;
worker_processes 1;
pid ${folder}/nginx.pid;
error_log ${folder}/error.log warn;
events { worker_connections 256; }
http {
  access_log off;
  client_body_temp_path ${folder}/a; proxy_temp_path ${folder}/b; fastcgi_temp_path ${folder}/c;
  uwsgi_temp_path ${folder}/d; scgi_temp_path ${folder}/e;
  client_max_body_size 0;
  server {
    listen 127.0.0.1:${port} ${secure ? "ssl " : ""}http2;
    ${secure ? `ssl_certificate ${CERT_FILE}; ssl_certificate_key ${KEY_FILE};` : ""}
    location / { grpc_pass ${upstream}; ${secure ? `grpc_ssl_trusted_certificate ${CA_FILE};` : ""} }
  }
}`
  )
  return ["-c", path.join(folder, "nginx.conf"), "-e", path.join(folder, "error.log")]
}

const haproxy = ({ folder, port, secure, server }: Route): ReadonlyArray<string> => {
  const pem = path.join(folder, "pair.pem")
  fs.writeFileSync(pem, fs.readFileSync(CERT_FILE, "utf8") + fs.readFileSync(KEY_FILE, "utf8"))
  fs.writeFileSync(
    path.join(folder, "haproxy.cfg"),
    `
defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
frontend front
  bind 127.0.0.1:${port} ${secure ? `ssl crt ${pem} alpn h2` : "proto h2"}
  default_backend back
backend back
  server one 127.0.0.1:${server.port} ${secure ? `ssl ca-file ${CA_FILE} alpn h2 sni str(localhost)` : "proto h2"}
`
  )
  return ["-db", "-f", path.join(folder, "haproxy.cfg")]
}

const nghttpx = ({ port, secure, server }: Route): ReadonlyArray<string> => [
  `--frontend=127.0.0.1,${port}${secure ? "" : ";no-tls"}`,
  `--backend=127.0.0.1,${server.port};;proto=h2${secure ? ";tls;sni=localhost" : ""}`,
  "--insecure",
  "--workers=1",
  "--errorlog-syslog",
  ...(secure ? [KEY_FILE, CERT_FILE] : [])
]

const proxies = { nginx, haproxy, nghttpx }

describe.for(Object.entries(proxies))("%s between our client and our server", ([name, configure]) => {
  it.skipIf(!has(name)).for([false, true])("passes 30 streams at once, and large bodies, TLS %s", async (secure) => {
    const server = await startEcho(secure)
    onTestFinished(server.close)
    const port = await freePort()
    await serve(port, name, configure({ port, secure, server, folder: folder() }))
    const client = await EchoClient.connect(port, secure)
    onTestFinished(() => client.close())
    await Promise.all(Array.from({ length: 30 }, async (_, number) => {
      const sent = Array.from({ length: 20 }, (_, i) => Buffer.alloc(5 * i * i + 1, number))
      const { body, reset, status, trailers } = await client.call("/echo", sent)
      assert.deepStrictEqual({ status, reset }, { status: 200, reset: undefined })
      assert.isTrue(body.equals(Buffer.concat(sent)))
      assert.includeMembers([...(trailers ?? [])], ["grpc-status", "x-bytes", String(body.length)])
    }))
    const large = Array.from({ length: 50 }, () => Buffer.alloc(10_000, "x"))
    const { trailers } = await client.call("/sink", large)
    assert.includeMembers([...(trailers ?? [])], ["x-bytes", "500000"])
    // HAProxy 2.6 gives its whole backend connection up (INTERNAL_ERROR) when trailers come while the 16 KiB that it keeps
    // of the stream's answer are full, whoever the server is.
    if (name !== "haproxy") assert.strictEqual((await client.call("/big", [])).body.length, 300_000)
    assert.deepStrictEqual(client.faults, [])
    assert.deepStrictEqual(server.faults, [])
  })
})
