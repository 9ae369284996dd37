-- What wrk sends: messages, or bulk cancellations of one label each. A thread has
-- every second label, and stops sending new ones at the last.
local threads = 0

function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
end

function init(args)
  what, count = args[1], tonumber(args[3])
  header = { ["Authorization"] = "Bearer " .. args[2] }
  if what == "publish" then
    header["Upstash-Delay"] = "1h"
    message = wrk.format("POST", "/v2/publish/http://127.0.0.1:9/hook", header, string.rep("x", tonumber(args[4])))
  end
  label = number
  probes = number == 0 and 1 or 0
end

function request()
  if what == "publish" then
    return message
  end
  -- The first request of the first thread is only looked at by wrk.
  if probes > 0 or label >= count then
    probes = probes - 1
    return wrk.format("GET", "/v2/keys", header)
  end
  local path = "/v2/messages?label=l" .. label
  label = label + 2
  return wrk.format("DELETE", path, header)
end
