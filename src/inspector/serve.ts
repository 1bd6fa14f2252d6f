// A server of the inspector's page of its own: on loopback or a unix socket to whoever reaches it, elsewhere behind a token.

import { randomBytes, timingSafeEqual } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Observe } from "../effects/observe.js";
import { Hub } from "./hub.js";
import type { GivenStory } from "./page-file.js";
import { type Handler, inspectorRoutes, refuse } from "./routes.js";

export interface InspectorOptions {
  /** What is kept of the migrations. Default: a new one. Null: none are watched, and given stories are all. */
  readonly hub?: Hub | null;
  readonly stories?: readonly GivenStory[];
  /** Default: 127.0.0.1. Any address that is not loopback's asks for a token. */
  readonly host?: string;
  /** Default: 0, a free one. */
  readonly port?: number;
  /** A unix socket instead. */
  readonly socket?: string;
}

export interface Inspector {
  /** To be given to `migrate` and the others. */
  readonly observe: Observe;
  /** Where a browser finds it, with its token when there is one. */
  readonly url: string;
  close(): Promise<void>;
}

/** @throws Error when it cannot listen there, or the page was not built. */
export async function serveInspector(options: InspectorOptions = {}): Promise<Inspector> {
  const { hub = new Hub(), stories = [], host = "127.0.0.1", port = 0, socket } = options;
  const isLocal = socket !== undefined || isLoopback(host);
  const token = isLocal ? null : randomBytes(24).toString("base64url");
  const routes = inspectorRoutes(hub, stories);
  const server = createServer((request, response) =>
    answer(request, response, {
      routes,
      token,
      names: isLocal && socket === undefined ? loopbackNames : null,
    }),
  );
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(socket === undefined ? { host, port } : { path: socket }, resolve);
  });
  const url =
    socket === undefined
      ? `http://${host.includes(":") ? `[${host}]` : host}:${(server.address() as AddressInfo).port}/`
      : `unix:${socket}`;
  return {
    observe: (seen) => hub?.observe(seen),
    url: token === null ? url : `${url}?token=${token}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

const loopbackNames: readonly string[] = ["127.0.0.1", "localhost", "[::1]"];
const isLoopback = (host: string): boolean => /^127\./.test(host) || host === "::1" || host === "localhost";

export interface Guard {
  readonly routes: Readonly<Record<string, Handler>>;
  readonly token: string | null;
  /** Of this host: another name in a request comes from a page of somebody else's. Null: any. */
  readonly names: readonly string[] | null;
}

export function answer(
  request: IncomingMessage,
  response: ServerResponse,
  { routes, token, names }: Guard,
): void {
  const url = new URL(request.url ?? "/", "http://inspector");
  const handler = Object.hasOwn(routes, url.pathname) ? routes[url.pathname] : undefined;
  const no = refusal(request, url, token, names);
  if (no !== null) refuse(response, ...no);
  else if (handler === undefined) refuse(response, 404, `there is nothing at ${url.pathname}`);
  else handler(request, response, url);
}

function refusal(
  { headers: { host = "" }, method }: IncomingMessage,
  url: URL,
  token: Guard["token"],
  names: Guard["names"],
): readonly [number, string] | null {
  if (names !== null && !names.includes(host.replace(/:\d+$/, "")))
    return [403, `this page is served to ${names.join(", ")}, not to ${host}`];
  if (method !== "GET") return [405, "there is nothing to change here; GET is all"];
  if (token !== null && !isRight(token, url.searchParams.get("token") ?? ""))
    return [401, "the token is missing or wrong; open the address that was printed, as it is"];
  return null;
}

function isRight(token: string, given: string): boolean {
  const [a, b] = [Buffer.from(token), Buffer.from(given)];
  return a.length === b.length && timingSafeEqual(a, b);
}
