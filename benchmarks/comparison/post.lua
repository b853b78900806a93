-- Sends the requests of a file, one after the other: wrk -s post.lua URL -- FILE once|again checked|plain
-- A line is host, token and body, separated by tabs. The last line printed is what load.py reads.
local asks, at, once, threads = {}, 0, false, {}
bad, spent = 0, 0

function setup(thread)
  table.insert(threads, thread)
end

function init(args)
  for line in io.lines(args[1]) do
    local host, token, body = line:match("^(.-)\t(.-)\t(.*)$")
    asks[#asks + 1] = wrk.format("POST", "/graphql", {
      ["Host"] = host,
      ["Authorization"] = "Bearer " .. token,
      ["Content-Type"] = "application/json",
      ["X-Polyclinic-Client"] = "bench",
    }, body)
  end
  once = args[2] == "once"
  if args[3] ~= "checked" then
    response = nil -- reading each answer here costs as much as the smallest answers do
  end
end

function request()
  at = at + 1
  if at > #asks then
    at = 1
    if once then
      spent = 1
    end
  end
  return asks[at]
end

function response(status, headers, body)
  if status ~= 200 or body:find('"errors"', 1, true) then
    bad = bad + 1
    if bad == 1 then
      io.stderr:write(body:sub(1, 500), "\n")
    end
  end
end

function done(summary, latency, requests)
  local failed, used_up = 0, 0
  for _, thread in ipairs(threads) do
    failed = failed + thread:get("bad")
    used_up = used_up + thread:get("spent")
  end
  local errors = summary.errors
  io.write(string.format(
    'FIGURES {"requests": %d, "seconds": %.6f, "p50_ms": %.3f, "p99_ms": %.3f, "failed": %d, "broken": %d, "spent": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    failed + errors.status, errors.connect + errors.read + errors.write + errors.timeout, used_up))
end
