import * as fs from "node:fs"
import * as path from "node:path"
import { CA_FILE, CERT_FILE, KEY_FILE } from "./echo.ts"

/** Somebody else's proxy in front of a server: on which ports, and where its files may lie. */
export interface Route {
  readonly port: number
  readonly secure: boolean
  readonly server: { readonly port: number }
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

/** Each writes its configuration, and answers its arguments. */
export const proxies = { nginx, haproxy, nghttpx }
