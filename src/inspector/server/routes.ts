// Routes of the inspector: the page, the list of migrations and the entries of one migration. Both latter are server-sent
// events, batched for a short time, so that many concurrent migrations stay cheap for clients and for the engine.

import type { IncomingMessage, ServerResponse } from "node:http";
import { type Handler, refuse } from "./http.js";
import type { Hub } from "./hub.js";
import { type GivenStory, page } from "./page-file.js";

const gatherMs = 100;
const aliveMs = 15_000;

/** Returns the handlers by path. `hub` is null when this process runs no migrations and the page shows only the given stories. */
export function inspectorRoutes(
  hub: Hub | null,
  stories: readonly GivenStory[] = [],
): Readonly<Record<string, Handler>> {
  return {
    "/": (_, response) => {
      const { html, policy } = page();
      response.writeHead(200, {
        "content-type": "text/html; charset=utf-8",
        "content-security-policy": `${policy}; frame-ancestors 'none'`,
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
      });
      response.end(html);
    },
    "/api/stories": (_, response) => json(response, { live: hub !== null, stories }),
    "/api/migrations": (request, response) => {
      if (hub === null) refuse(response, 404, "this process does not run migrations");
      else
        stream(
          request,
          response,
          hub,
          () => true,
          () => hub.summaries(),
        );
    },
    "/api/entries": (request, response, url) => {
      const migrationId = url.searchParams.get("id") ?? "";
      let from = Number(request.headers["last-event-id"] ?? url.searchParams.get("from") ?? 0);
      if (hub?.entries(migrationId, 0) === undefined) {
        refuse(response, 404, `migration ${migrationId} not found`);
        return;
      }
      stream(
        request,
        response,
        hub,
        (id) => id === migrationId,
        () => {
          const news = hub.entries(migrationId, from);
          if (news === undefined || news.next === from) return undefined;
          from = news.next;
          return news;
        },
      );
    },
  };
}

function json(response: ServerResponse, value: unknown): void {
  response.writeHead(200, { "content-type": "application/json; charset=utf-8", "cache-control": "no-store" });
  response.end(JSON.stringify(value));
}

/** Sends the result of `read` immediately, and again after each batch with news. */
function stream(
  request: IncomingMessage,
  response: ServerResponse,
  hub: Hub,
  concerns: (migrationId: string) => boolean,
  read: () => unknown,
): void {
  response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
  let timer: NodeJS.Timeout | undefined;
  const send = () => {
    timer = undefined;
    // Back-pressure: a slow client receives nothing more until it has read its buffer.
    if (response.writableNeedDrain) {
      response.once("drain", send);
      return;
    }
    const news = read();
    if (news === undefined) return;
    const next = typeof news === "object" && news !== null && "next" in news ? `id: ${news.next}\n` : "";
    response.write(`${next}data: ${JSON.stringify(news)}\n\n`);
  };
  const stop = hub.onNews((id) => {
    if (concerns(id)) timer ??= setTimeout(send, gatherMs);
  });
  const alive = setInterval(() => response.write(": alive\n\n"), aliveMs);
  request.once("close", () => {
    stop();
    clearTimeout(timer);
    clearInterval(alive);
  });
  send();
}
