// A fence in etcd: an offer is a key under a lease, its revision is the token, and whoever changes the key first has
// decided. Upholds G1 when the sides cannot reach one another. Facts: etcd's v3 API over its JSON gateway (etcd 3.4 on).

import { type RequestOptions, request as requestPlain } from "node:http";
import { request as requestTls } from "node:https";
import * as z from "zod/mini";
import type { Clock, Fence } from "../../effects/ports.js";
import { type Answer, done, failed, messageOf, nothing, unknown } from "../../protocol/effect-result.js";
import type { Fenced, Identity } from "../../protocol/messages.js";
import { systemClock } from "../platform/clock.js";

export interface EtcdFenceOptions {
  /** `http://host:2379` or `https://…`; asked in this order until one answers. */
  readonly endpoints: readonly [string, ...string[]];
  /** Certificates and keys in PEM, for https. */
  readonly tls?: Pick<RequestOptions & { ca?: string; cert?: string; key?: string }, "ca" | "cert" | "key">;
  /** Default: `switchover/guests/`. */
  readonly prefix?: string;
  /** How long an offer outlives an engine that is gone, in seconds. Default 60. */
  readonly leaseSeconds?: number;
  readonly clock?: Clock;
}

const claimed = "claimed";
const number = z.union([z.string(), z.number()]);
const granted = z.object({ ID: number });
const pair = z.object({ value: z.optional(z.string()) });
const decided = z.object({
  header: z.object({ revision: number }),
  succeeded: z.optional(z.boolean()),
  responses: z.optional(
    z.array(z.object({ response_range: z.optional(z.object({ kvs: z.optional(z.array(pair)) })) })),
  ),
});

export function etcdFence(options: EtcdFenceOptions): Fence {
  const {
    endpoints,
    tls = {},
    prefix = "switchover/guests/",
    leaseSeconds = 60,
    clock = systemClock,
  } = options;
  /** By key: what stops its lease from being kept alive. */
  const kept = new Map<string, () => void>();

  const ask = async (path: string, body: object, signal?: AbortSignal): Promise<unknown> => {
    const reasons: string[] = [];
    for (const endpoint of endpoints) {
      try {
        return await post(new URL(path, endpoint), body, tls, signal);
      } catch (error) {
        reasons.push(`${endpoint}: ${messageOf(error)}`);
      }
    }
    throw new Error(`etcd does not answer (${reasons.join("; ")})`);
  };
  const keyOf = ({ uuid, migrationId }: Identity) => base64(`${prefix}${uuid}/${migrationId}`);
  /** One step that etcd does whole or not at all: `then` if the key is still as it was offered. */
  const unlessChanged = async ({ identity, token }: Fenced, then: object, signal: AbortSignal) => {
    const key = keyOf(identity);
    const compare = [{ key, target: "MOD", result: "EQUAL", mod_revision: token }];
    const failure = [{ request_range: { key } }];
    const answer = decided.parse(await ask("/v3/kv/txn", { compare, success: [then], failure }, signal));
    const [found] = answer.responses?.[0]?.response_range?.kvs ?? [];
    if (answer.succeeded === true) return "changed now";
    if (found === undefined) return "gone";
    return found.value === base64(claimed) ? "claimed" : "other";
  };
  const drop = async (identity: Identity, signal?: AbortSignal) => {
    stopKeeping(keyOf(identity));
    await ask("/v3/kv/deleterange", { key: keyOf(identity) }, signal);
  };
  const keep = (key: string, lease: string | number) => {
    let handle: unknown;
    const again = () => {
      // A lease that is lost only makes the offer go: then the destination refuses, and the guest stays.
      ask("/v3/lease/keepalive", { ID: lease }).catch(() => {});
      handle = clock.setTimeout(again, (leaseSeconds * 1000) / 3);
    };
    handle = clock.setTimeout(again, (leaseSeconds * 1000) / 3);
    kept.set(key, () => clock.clearTimeout(handle));
  };
  const stopKeeping = (key: string) => {
    kept.get(key)?.();
    kept.delete(key);
  };

  return {
    offer: (identity, signal) =>
      answering(async () => {
        const key = keyOf(identity);
        const { ID: lease } = granted.parse(await ask("/v3/lease/grant", { TTL: leaseSeconds }, signal));
        const put = { request_put: { key, value: base64("offered"), lease } };
        const { header } = decided.parse(await ask("/v3/kv/txn", { success: [put] }, signal));
        stopKeeping(key);
        keep(key, lease);
        return done(String(header.revision));
      }),
    claim: (what, signal) =>
      answering(async () => {
        // Without a lease: a guest that runs must not be given to another because nobody renews something.
        const put = { request_put: { key: keyOf(what.identity), value: base64(claimed) } };
        const found = await unlessChanged(what, put, signal);
        if (found === "changed now" || found === "claimed") return nothing;
        return failed("the guest is not offered at the fence any more: the source has taken it back");
      }),
    disclaim: (what, signal) =>
      answering(async () => {
        await drop(what.identity, signal);
        return nothing;
      }),
    fence: (what, signal) =>
      answering(async () => {
        const remove = { request_delete_range: { key: keyOf(what.identity) } };
        const found = await unlessChanged(what, remove, signal);
        if (found === "changed now" || found === "gone") {
          stopKeeping(keyOf(what.identity));
          return nothing;
        }
        return failed("the destination has claimed the guest at the fence");
      }),
    release: async ({ identity }) => {
      await drop(identity).catch(() => {});
    },
  };
}

/** Silence, and any answer but etcd's own, may hide that it has happened. */
async function answering<T>(run: () => Promise<Answer<T>>): Promise<Answer<T>> {
  try {
    return await run();
  } catch (error) {
    return unknown(messageOf(error));
  }
}

const base64 = (text: string): string => Buffer.from(text).toString("base64");

const answerLimitMs = 3_000;

function post(url: URL, body: object, tls: object, signal?: AbortSignal): Promise<unknown> {
  const request = url.protocol === "https:" ? requestTls : requestPlain;
  const text = JSON.stringify(body);
  return new Promise((resolve, reject) => {
    const asked = request(
      url,
      { method: "POST", timeout: answerLimitMs, ...(signal && { signal }), ...tls },
      (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.on("error", reject);
        response.on("end", () => {
          const answer = Buffer.concat(chunks).toString();
          if (response.statusCode !== 200)
            reject(new Error(`status ${response.statusCode}: ${answer.trim()}`));
          else {
            try {
              resolve(JSON.parse(answer));
            } catch (error) {
              reject(error);
            }
          }
        });
      },
    );
    asked.on("timeout", () => asked.destroy(new Error(`no answer within ${answerLimitMs} ms`)));
    asked.on("error", reject);
    asked.setHeader("content-type", "application/json");
    asked.end(text);
  });
}

/**
 * A fence by proof, for embedders: `isDead` says whether the destination's host is dead for certain, such as powered off
 * by its management board. It must not say so when it cannot know.
 */
export function fenceByProof(isDead: (identity: Identity) => Promise<boolean>): Fence {
  return {
    offer: async () => done("proof"),
    claim: async () => nothing,
    disclaim: async () => nothing,
    fence: async ({ identity }) =>
      (await isDead(identity)) ? nothing : failed("the destination is not proven dead"),
    release: async () => {},
  };
}
