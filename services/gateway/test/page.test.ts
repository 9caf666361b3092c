import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { type Browser, chromium, type Locator, type Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type Edge, startEdge } from "../src/http-server.ts";
import { readPage } from "../src/page-files.ts";
import { fakeSystem, SAE } from "./support/fake-system.ts";

const CHROMIUM = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find((path) => existsSync(path));
if (CHROMIUM === undefined) console.log("page.test.ts: skipped, /usr/bin/chromium does not exist (apt-get install chromium)");

const folder = fileURLToPath(new URL("../../console/src", import.meta.url));

test("the page is small and TypeScript is served without types", () => {
  const files = readPage(folder);
  const bytes = [...new Set(files.values())].reduce((sum, { body }) => sum + body.length, 0);
  expect(bytes).toBeLessThan(150 * 1024);
  expect(files.get("/main.ts")?.contentType).toContain("text/javascript");
  expect(files.get("/api.ts")?.body.toString()).not.toContain("interface ");
  expect(files.get("/")).toBe(files.get("/index.html"));
});

describe.skipIf(CHROMIUM === undefined)("in a browser", () => {
  let edge: Edge;
  let browser: Browser;
  let page: Page;
  const faults: string[] = [];

  beforeAll(async () => {
    const health = () => ({ status: "degraded", grpc: "127.0.0.1:50050", services: { inference: { address: "127.0.0.1:50051", state: "serving" }, explanation: { address: "127.0.0.1:50054", state: "unreachable", detail: "connect ECONNREFUSED" } } });
    edge = await startEdge({ listen: "127.0.0.1:0", services: fakeSystem(), page: readPage(folder), health, allowedOrigins: [], maxRequestBytes: 1 << 20 });
    browser = await chromium.launch({ executablePath: CHROMIUM ?? "", args: ["--no-sandbox"] });
  });

  afterAll(async () => {
    await browser.close();
    await edge.close(0);
  });

  beforeEach(async () => {
    faults.length = 0;
    page = await browser.newPage();
    page.setDefaultTimeout(10_000);
    page.on("console", (message) => message.type() === "error" && faults.push(message.text()));
    page.on("pageerror", (error) => faults.push(error.message));
    page.on("request", (request) => !request.url().startsWith(`http://${edge.address}/`) && faults.push(`outside: ${request.url()}`));
  });

  afterEach(async () => {
    await page.close();
    if (faults.length > 0) throw new Error(`the page told of faults: ${faults.join("; ")}`);
  });

  /** Waits until it is there; fails the test otherwise. */
  const seen = async (locator: Locator): Promise<boolean> => {
    await locator.waitFor();
    return locator.isVisible();
  };

  const open = (hash: string) => page.goto(`http://${edge.address}/${hash}`);

  test("the system page shows services, models, SAEs, indexes and running work", async () => {
    await open("");
    for (const text of ["unreachable", "models/demo-model", SAE, "corpora/stories", "index-corpus", "400 of 1,000 tokens", "Not asked: explanation."]) {
      expect(await seen(page.getByText(text).first())).toBe(true);
    }
    await page.getByRole("button", { name: "Cancel" }).click();
  });

  test("a run shows its curves and what was measured", async () => {
    await open("#/runs");
    expect(await seen(page.getByRole("img", { name: "FVU by step" }).locator("polyline"))).toBe(true);
    expect(await seen(page.getByText("0.0841").first())).toBe(true);
    expect(await seen(page.getByText("99.1%"))).toBe(true);
  });

  test("features are listed, searched by words and paged", async () => {
    await open("#/features");
    expect(await seen(page.getByText("50 of 200"))).toBe(true);
    await page.getByRole("button", { name: "Show more" }).click();
    expect(await seen(page.getByText("100 of 200"))).toBe(true);
    await page.keyboard.press("/");
    await page.keyboard.type("rain");
    expect(await seen(page.getByText("1 found"))).toBe(true);
    await page.getByRole("link", { name: "1", exact: true }).click();
    expect(await seen(page.getByRole("heading", { name: "Feature 1" }))).toBe(true);
  });

  test("a feature page shows examples coloured by activation, the histogram and neighbours, and text is never markup", async () => {
    await open(`#/feature/3?sae=${encodeURIComponent(SAE)}`);
    expect(await seen(page.getByText('fires on "seven" <b>&'))).toBe(true);
    const peak = page.locator(".tokens .peak").first();
    expect(await peak.textContent()).toBe(" seven");
    expect(await peak.getAttribute("style")).toContain("background-color: rgb(var(--heat) / 0.6");
    expect(await seen(page.getByRole("img", { name: "how often it fires at each strength" }))).toBe(true);
    expect(await seen(page.getByText("also about seven"))).toBe(true);
    await page.getByLabel("Examples").selectOption("RANDOM");
    expect(await seen(page.locator(".example").first())).toBe(true);
    await page.keyboard.press("Escape");
    await page.locator("h1").click();
    await page.keyboard.press("]");
    expect(await seen(page.getByRole("heading", { name: "Feature 4" }))).toBe(true);
  });

  test("steering by words streams both texts beside each other", async () => {
    await open("#/steer");
    await page.getByLabel("Feature, by index or by words").fill("dragon castle");
    expect(await seen(page.getByRole("button", { name: "3 about dragon castle" }))).toBe(true);
    await page.getByLabel("colour by divergence").check();
    await page.getByRole("button", { name: "Steer" }).click();
    expect(await seen(page.getByText("Steered 6 of 6 steps."))).toBe(true);
    expect(await page.locator(".text").allTextContents()).toEqual([
      "Once upon a time plain0 plain1 plain2 plain3 plain4 plain5",
      "Once upon a time dragon0 dragon1 dragon2 dragon3 dragon4 dragon5",
    ]);
  });

  test("a page or a feature that does not exist is said to be missing", async () => {
    await open("#/gardening");
    expect(await seen(page.getByText('There is no page "gardening".'))).toBe(true);
    await open("#/feature/999");
    expect(await seen(page.getByText("got feature 999, wanted 0 to 199"))).toBe(true);
    faults.splice(0, faults.length, ...faults.filter((text) => !text.includes("404")));
  });
});
