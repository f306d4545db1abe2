// The page over real records of a tenant that was attacked: it must show who it is that touches what from where.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";

const { GRAPH_URL, CHROMIUM } = process.env;
let browser;

before(async () => {
  browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync"] });
});
after(() => browser.close());

test("shows who gives roles to whom, and where they come from", async () => {
  const page = await (await browser.newContext({ reducedMotion: "reduce" })).newPage();
  page.setDefaultTimeout(60_000);
  const still = () => page.waitForSelector('#graph[data-state="still"]');
  await page.goto(GRAPH_URL);
  await still();
  // Agents and sessions have names, and what is only mentioned is told apart.
  for (const name of [/^sessions \d/, /^mentions \d/, /^acts as \d/]) assert.equal(await page.locator("#legend").getByRole("button", { name }).count(), 1, name);
  assert.equal(await page.textContent("#several"), "2");
  assert.equal(await page.textContent("#details h2"), "What to look at first");
  assert.match(await page.textContent("#status"), /^500 edges between \d+ nodes of [\d,]+ records\./);
  for (const type of ["users", "IP addresses", "mail addresses", "applications", "files"]) {
    const shown = await page.locator("#legend").getByRole("button", { name: new RegExp(`^${type} \\d`) }).locator(".count").textContent();
    assert.ok(Number(shown) > 1, `${shown} ${type}`);
  }

  // Roles were given: by whom is the edge's beginning.
  await page.getByLabel("Operation").fill("Add member to role.");
  await page.getByLabel("Operation").press("Enter");
  await page.waitForFunction(() => location.hash.includes("operation="));
  await page.waitForFunction(() => !document.getElementById("status").textContent.startsWith("500"));
  const edge = page.locator("#details").getByRole("button", { name: /→/ }).first();
  const giver = (await edge.getAttribute("title")).split(" → ")[0];
  assert.match(giver, /@/);

  // And around them are the addresses that they came from, with the records to prove it.
  await page.getByRole("button", { name: "Show all again" }).click();
  await page.getByRole("combobox", { name: "Search a node" }).fill(giver);
  await page.getByRole("option", { name: new RegExp(`^${giver}\\s*, user`) }).click();
  await page.waitForFunction((giver) => document.querySelector("#details h2")?.textContent === giver, giver);
  const address = page.locator("#details").getByRole("button", { name: /^→ \d+\.\d+\.\d+\.\d+/ }).first();
  await address.click();
  await page.locator("#details").getByRole("button", { name: /UserLoggedIn/ }).first().click();
  const record = await page.waitForFunction(() => [...document.querySelectorAll("#details pre")].find((pre) => pre.textContent.includes("{"))?.textContent);
  assert.equal(JSON.parse(await record.jsonValue()).UserId.toLowerCase(), giver);
});
