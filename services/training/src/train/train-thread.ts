import { workerData } from "node:worker_threads";
import { serveStage } from "../threads/stage-thread.ts";
import { train, type Trained, type TrainEvent, type TrainPlan } from "./train.ts";

await serveStage<Trained, TrainEvent>(async (context) => await train(workerData as TrainPlan, context));
