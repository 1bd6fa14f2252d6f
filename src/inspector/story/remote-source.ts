// Follows the migrations of other processes through their inspectors, so that one page shows both hosts of a migration and its
// coordinator. Reconnects after a lost connection and continues where it stopped.

import { type ClientRequest, get } from "node:http";
import * as z from "zod/mini";
import type { Observe } from "../../effects/trace.js";
import { messageOf } from "../../protocol/effect-result.js";
import { parseEntry } from "./story-text.js";

const againMs = 1_000;

const list = z.array(z.looseObject({ migrationId: z.string() }));
const news = z.looseObject({ entries: z.array(z.unknown()), next: z.number() });

export interface Following {
  /** Stops following. */
  stop(): void;
}

/**
 * Follows the inspector at `url`, in the form that the inspector prints, with its token: `http://host:port/?token=…`, or
 * `unix:/path`.
 * @throws Error when `url` has neither form.
 */
export function followInspector(url: string, observe: Observe, warn: (sentence: string) => void): Following {
  const place = placeOf(url);
  const followed = new Set<string>();
  const stopping = new AbortController();
  const { signal } = stopping;
  const wrong = (why: string) => warn(`${url}: ${why}`);

  const follow = (migrationId: string) => {
    let next = 0;
    listen(
      place,
      "/api/entries",
      () => ({ id: migrationId, from: String(next) }),
      signal,
      wrong,
      (data) => {
        const read = news.safeParse(data);
        if (!read.success) return wrong(`unexpected data from the inspector: ${z.prettifyError(read.error)}`);
        next = read.data.next;
        for (const json of read.data.entries) {
          const entry = parseEntry(json);
          if ("wrong" in entry) wrong(`invalid entry: ${entry.wrong}`);
          else if (entry.kind !== "move") observe(entry);
        }
      },
    );
  };
  listen(
    place,
    "/api/migrations",
    () => ({}),
    signal,
    wrong,
    (data) => {
      const read = list.safeParse(data);
      if (!read.success) return wrong("the server did not send an inspector's list of migrations");
      for (const { migrationId } of read.data) {
        if (followed.has(migrationId)) continue;
        followed.add(migrationId);
        follow(migrationId);
      }
    },
  );
  return { stop: () => stopping.abort() };
}

interface Place {
  readonly options: { readonly socketPath: string } | { readonly host: string; readonly port: string };
  readonly token: string | null;
}

function placeOf(url: string): Place {
  if (url.startsWith("unix:")) return { options: { socketPath: url.slice("unix:".length) }, token: null };
  if (!/^http:\/\//.test(url) || !URL.canParse(url))
    throw new Error(`"${url}" is not an inspector's address: expected http://host:port/ or unix:/path`);
  const { hostname, port, searchParams } = new URL(url);
  return {
    options: { host: hostname.replace(/^\[|\]$/g, ""), port: port === "" ? "80" : port },
    token: searchParams.get("token"),
  };
}

/** Receives server-sent events, each one line of JSON, as routes.ts sends them. */
function listen(
  { options, token }: Place,
  path: string,
  query: () => Readonly<Record<string, string>>,
  signal: AbortSignal,
  wrong: (why: string) => void,
  receive: (data: unknown) => void,
): void {
  let isReported = false;
  const again = (why: string) => {
    if (signal.aborted) return;
    if (!isReported) wrong(`${why}; retrying`);
    isReported = true;
    setTimeout(dial, againMs).unref();
  };
  const dial = () => {
    if (signal.aborted) return;
    const words = new URLSearchParams({ ...query(), ...(token !== null && { token }) });
    const request: ClientRequest = get({ ...options, path: `${path}?${words}`, signal }, (response) => {
      const { statusCode = 0 } = response;
      let text = "";
      response.setEncoding("utf8");
      response.on("error", () => {});
      response.on("close", () =>
        again(statusCode === 200 ? "connection lost" : `HTTP status ${statusCode}: ${text.trim()}`),
      );
      response.on("data", (part: string) => {
        text += part;
        if (statusCode !== 200) return;
        isReported = false;
        const events = text.split("\n\n");
        text = events.pop() ?? "";
        for (const event of events) {
          const data = event.split("\n").find((line) => line.startsWith("data: "));
          if (data !== undefined) receive(JSON.parse(data.slice("data: ".length)));
        }
      });
    });
    request.on("error", (error) => again(messageOf(error)));
  };
  dial();
}
