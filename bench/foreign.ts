/**
 * Proxies written in C and C++, each with one thread: what takes part beside the sidecar where it is installed. Their
 * limits are set so wide that they never decide a figure.
 */
import { writeFileSync } from "node:fs"
import { join } from "node:path"

const names = ["nginx", "haproxy", "nghttpx"] as const
export type ForeignName = (typeof names)[number]
export const isForeign = (name: string): name is ForeignName => names.some((known) => known === name)

/** Where a proxy keeps its files, listens, and finds the worker. */
interface Site {
  readonly dir: string
  readonly port: number
  readonly socket: string
}

const nginxConfig = ({ dir, port, socket }: Site): string => `
${process.getuid?.() === 0 ? "user root;" : ""}
daemon off;
worker_processes 1;
pid ${dir}/nginx.pid;
error_log ${dir}/nginx-error.log warn;
events { worker_connections 4096; }
http {
  access_log ${dir}/nginx-access.log;
  client_body_temp_path ${dir}/nginx-body;
  proxy_temp_path ${dir}/nginx-proxy;
  fastcgi_temp_path ${dir}/nginx-fastcgi;
  uwsgi_temp_path ${dir}/nginx-uwsgi;
  scgi_temp_path ${dir}/nginx-scgi;
  keepalive_requests 10000000;
  upstream worker { server unix:${socket}; keepalive 64; keepalive_requests 10000000; }
  server {
    listen 127.0.0.1:${port} http2 backlog=4096;
    http2_max_concurrent_streams 4096;
    client_max_body_size 0;
    location / { grpc_pass grpc://worker; grpc_read_timeout 3600s; grpc_send_timeout 3600s; }
  }
}
`

const haproxyConfig = ({ port, socket }: Site): string => `
global
  nbthread 1
  maxconn 8192
  tune.h2.max-concurrent-streams 4096
defaults
  mode http
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  http-reuse always
frontend gateways
  bind 127.0.0.1:${port} proto h2
  default_backend worker
backend worker
  server worker unix@${socket} proto h2
`

/** The command line of each, with its configuration written. */
export const foreign: { readonly [name in ForeignName]: (site: Site) => readonly [string, Array<string>] } = {
  nginx: (site) => {
    const file = join(site.dir, "nginx.conf")
    writeFileSync(file, nginxConfig(site))
    return ["nginx", ["-c", file, "-e", join(site.dir, "nginx-error.log")]]
  },
  haproxy: (site) => {
    const file = join(site.dir, "haproxy.cfg")
    writeFileSync(file, haproxyConfig(site))
    return ["haproxy", ["-f", file, "-db"]]
  },
  nghttpx: (site) => [
    "nghttpx",
    [
      "--conf=/dev/null",
      "--single-process",
      "--workers=1",
      "--no-ocsp",
      "--log-level=FATAL",
      `--pid-file=${join(site.dir, "nghttpx.pid")}`,
      `--frontend=127.0.0.1,${site.port};no-tls`,
      `--backend=unix:${site.socket};;proto=h2`,
      "--frontend-http2-max-concurrent-streams=4096",
      "--backend-http2-max-concurrent-streams=4096",
      "--frontend-read-timeout=1h",
      "--stream-read-timeout=1h",
      "--backend-read-timeout=1h"
    ]
  ]
}
