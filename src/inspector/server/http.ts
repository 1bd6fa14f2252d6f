// A small HTTP server of what can be looked at: on loopback or a unix socket to whoever reaches it, elsewhere behind a
// token. Nothing can be changed by it.

import { randomBytes, timingSafeEqual } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { listenUnixSocket } from "../../drivers/platform/listen.js";

/** Answers what is asked of one path. */
export type Handler = (request: IncomingMessage, response: ServerResponse, url: URL) => void;

export interface Listening {
  /** Default: 127.0.0.1. Any address that is not loopback's asks for a token. */
  readonly host?: string | undefined;
  /** Default: 0, a free one. */
  readonly port?: number | undefined;
  /** A unix socket instead. */
  readonly socket?: string | undefined;
  /** Beyond loopback; default: a new one. */
  readonly token?: string | undefined;
}

export interface Served {
  /** Where a browser finds it, with its token when there is one. */
  readonly url: string;
  close(): Promise<void>;
}

/** @throws Error when it cannot listen there. */
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
  /** Of this host: another name in a request comes from a page of somebody else's. Null: any. */
  readonly names: readonly string[] | null;
}

function answer(request: IncomingMessage, response: ServerResponse, guard: Guard): void {
  const { routes } = guard;
  const asked = request.url ?? "/";
  if (!URL.canParse(asked, base)) {
    refuse(response, 400, "what was asked is no path");
    return;
  }
  const url = new URL(asked, base);
  const handler = Object.hasOwn(routes, url.pathname) ? routes[url.pathname] : undefined;
  const no = refusal(request, url, guard);
  if (no !== null) refuse(response, ...no);
  else if (handler === undefined) refuse(response, 404, `there is nothing at ${url.pathname}`);
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
    return [403, `this page is served to ${names.join(", ")}, not to ${host}`];
  if (method !== "GET") return [405, "there is nothing to change here; GET is all"];
  const said = url.searchParams.get("token") ?? authorization.replace(/^Bearer /, "");
  if (token !== null && !isRight(token, said))
    return [401, "the token is missing or wrong; open the address that was printed, as it is"];
  return null;
}

function isRight(token: string, given: string): boolean {
  const [a, b] = [Buffer.from(token), Buffer.from(given)];
  return a.length === b.length && timingSafeEqual(a, b);
}
