import { randomUUID } from "node:crypto";
import { inspect } from "@xstate/inspect/lib/server.js";
import { launchGuest, migrate } from "switchover";
import { bridgeToXStateInspect } from "switchover/xstate-inspect";
import { WebSocketServer } from "ws";

// Any client of this port sees everything: bind it to loopback only.
const server = new WebSocketServer({ host: "127.0.0.1", port: 8888 });
// The package's types refer to the CommonJS build of ws, which exports the same class.
inspect({ server: server as never });

const guest = await launchGuest({
  name: "web-1",
  uuid: randomUUID(),
  args: ["-machine", "pc,accel=tcg", "-nodefaults", "-display", "none", "-m", "65544K"],
});
const migration = migrate({
  guest,
  inspect: bridgeToXStateInspect(Reflect.get(globalThis, "__xstate__"), {
    refused: ({ machine, what }) => console.error(`rejected ${what} from an inspector to the ${machine}`),
  }),
});
const { kind, guest: now } = await migration.outcome;
console.log(kind);
await now?.end();
server.close();
