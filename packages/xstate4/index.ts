// XState 4, the inspector that speaks it, and its transport, which our XState 5 cannot have beside it in one folder.

import { inspect as inspectOn } from "@xstate/inspect/lib/server.js";
import type { WebSocketServer } from "ws";

export { createWebSocketReceiver, type ParsedReceiverEvent } from "@xstate/inspect";
export { WebSocket, WebSocketServer } from "ws";
export { createMachine, State, type StateValue } from "xstate";

/** The package's types mean the CommonJS half of ws, which is the same class. */
export const inspect = (options: { server: WebSocketServer }) =>
  inspectOn(options as unknown as Parameters<typeof inspectOn>[0]);
