// A small read-only HTTP server: on loopback or a unix socket it serves every client, on any other address it requires a
// token.

import { randomBytes, timingSafeEqual } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { listenUnixSocket } from "../../drivers/platform/listen.js";

/** Handles the requests for one path. */
export type Handler = (request: IncomingMessage, response: ServerResponse, url: URL) => void;

export interface Listening {
  /** Default: 127.0.0.1. An address other than loopback requires a token. */
  readonly host?: string | undefined;
  /** Default: 0, a free port. */
  readonly port?: number | undefined;
  /** Path of a unix socket to listen on instead. */
  readonly socket?: string | undefined;
  /** The token on addresses other than loopback; default: a new random token. */
  readonly token?: string | undefined;
}

export interface Served {
  /** The address for a browser, including the token if one is required. */
  readonly url: string;
  close(): Promise<void>;
}

/** @throws Error when it cannot listen on the address. */
export async function serveHttp(
  routes: Readonly<Record<string, Handler>>,
  { host = "127.0.0.1", port = 0, socket, token: given }: Listening,
): Promise<Served> {
  const isLocal = socket !== undefined || isLoopback(host);
  const token = isLocal ? null : (given ?? randomBytes(24).toString("base64url"));
  const names = isLocal && socket === undefined ? loopbackNames : null;
  const server = createServer((request, response) => answer(request, response, { routes, token, names }));
  const unix =
    socket === undefined
      ? null
      : await listenUnixSocket({ path: socket }, (connection) => void server.emit("connection", connection));
  if (unix === null)
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen({ host, port }, resolve);
    });
  const url =
    socket === undefined
      ? `http://${host.includes(":") ? `[${host}]` : host}:${(server.address() as AddressInfo).port}/`
      : `unix:${socket}`;
  return {
    url: token === null ? url : `${url}?token=${token}`,
    close: () =>
      new Promise((resolve) => {
        (unix ?? server).close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

const base = "http://inspector";
const loopbackNames: readonly string[] = ["127.0.0.1", "localhost", "[::1]"];
const isLoopback = (host: string): boolean => /^127\./.test(host) || host === "::1" || host === "localhost";

interface Guard {
  readonly routes: Readonly<Record<string, Handler>>;
  readonly token: string | null;
  /** The accepted names of this host: a request with another Host header comes from a foreign page (DNS rebinding). Null: any. */
  readonly names: readonly string[] | null;
}

function answer(request: IncomingMessage, response: ServerResponse, guard: Guard): void {
  const { routes } = guard;
  const asked = request.url ?? "/";
  if (!URL.canParse(asked, base)) {
    refuse(response, 400, "the request target is not a valid path");
    return;
  }
  const url = new URL(asked, base);
  const handler = Object.hasOwn(routes, url.pathname) ? routes[url.pathname] : undefined;
  const rejection = refusal(request, url, guard);
  if (rejection !== null) refuse(response, ...rejection);
  else if (handler === undefined) refuse(response, 404, `not found: ${url.pathname}`);
  else handler(request, response, url);
}

export function refuse(response: ServerResponse, status: number, why: string): void {
  response.writeHead(status, { "content-type": "text/plain; charset=utf-8" });
  response.end(`${why}\n`);
}

function refusal(
  { headers: { host = "", authorization = "" }, method }: IncomingMessage,
  url: URL,
  { token, names }: Guard,
): readonly [number, string] | null {
  if (names !== null && !names.includes(host.replace(/:\d+$/, "")))
    return [403, `invalid Host header ${host}: use ${names.join(", ")}`];
  if (method !== "GET") return [405, "method not allowed: this server is read-only; use GET"];
  const presented = url.searchParams.get("token") ?? authorization.replace(/^Bearer /, "");
  if (token !== null && !isRight(token, presented))
    return [401, "the token is missing or wrong: open the address exactly as it was printed"];
  return null;
}

function isRight(token: string, given: string): boolean {
  const [a, b] = [Buffer.from(token), Buffer.from(given)];
  return a.length === b.length && timingSafeEqual(a, b);
}
