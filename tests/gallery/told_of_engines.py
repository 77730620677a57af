"""What the reports of broken twins must say: engines, protocols and questions."""

from chaosharness import (
    Crash,
    Delay,
    Duplicate,
    ErrorReply,
    LostRequest,
    NetworkPartition,
    Pause,
    Rebalance,
    Redeploy,
    Site,
)
from tests.gallery.told import Told

TOLD = {
    "airflow.broken:key_of_try": Told(
        "idempotent",
        ("asks for bank.charge 2 times, with another idempotency key each time (o1-1 and o1-2)"),
        [Delay(Site("workers.charge/bank.charge"), lasting="timeout")],
        items=(0,),
        claimed=False,
    ),
    "airflow.broken:charge_once_by_xcom": Told(
        "idempotent",
        ("asks for bank.charge 2 times, with another idempotency key each time (o1-1 and o1-2)"),
        [Delay(Site("workers.charge/bank.charge"), lasting="timeout")],
        items=(0,),
        claimed=False,
    ),
    "airflow.broken:failure_hidden_by_last_task": Told(
        "idempotent",
        "workers.ship raised (7 times) and was never done, and yet o1 ended with 'dag",
        [NetworkPartition(Site("workers.ship/courier.ship"))],
        items=(0,),
        claimed=False,
    ),
    "airflow.broken:undone_too_soon": Told(
        "money is conserved",
        "asked for bank.refund when there was nothing to undo yet",
        [ErrorReply(Site("workers.charge/bank.charge"))],
        items=(1,),
    ),
    "airflow.broken:cleaned_up_by_xcom": Told(
        "money is conserved",
        (
            "never got an answer to courier.ship, so nobody knew whether it had hap"
            "pened (it had). workers.clean_up asked for bank.refund all the same"
        ),
        [NetworkPartition(Site("workers.ship/courier.ship"), way="back")],
        items=(0,),
    ),
    "airflow.broken:refund_in_callback": Told(
        "money is conserved",
        "bank.refund was refused once, and nobody asked for it again",
        [ErrorReply(Site("workers.ship/bank.refund"))],
        items=(1,),
    ),
    "conductor.broken:failure_workflow_lost": Told(
        "every saga settles",
        (
            "order-1 was over (workflow failed): nobody asked for bank.refund, for conductor died "
            "when it ended order-1, and does not come back to what has ended"
        ),
        [Crash(Site("conductor.order/end workflow", "after"))],
        items=(1,),
    ),
    "conductor.broken:failure_workflow_absent": Told(
        "money is conserved",
        (
            "order-1 was over (workflow failed): nothing was asked for after that, "
            "so it stands, and nobody undoes it"
        ),
        [],
        items=(1,),
    ),
    "conductor.broken:key_of_attempt": Told(
        "idempotent",
        "with another idempotency key each time (order-1/charge and order-1/charge.1)",
        [Delay(Site("payments.charge/bank.charge"))],
        items=(0,),
        claimed=False,
    ),
    "conductor.broken:undoes_what_did_not_happen": Told(
        "money is conserved",
        (
            "was refused bank.charge, so nothing had happened; payments.refund aske"
            "d for bank.refund all the same"
        ),
        [],
        items=(1,),
    ),
    "conductor.broken:response_timeout_too_short": Told(
        "money is conserved",
        ("payments.charge asks for bank.charge 4 times, with another idempotency key each time"),
        [],
        items=(0,),
    ),
    "saga_engine.broken:answer_not_recorded": Told(
        "money is conserved",
        "gave up waiting for bank.charge and went on as if it had failed",
        [Delay(Site("orchestrator.on_order/bank.charge"), lasting="timeout")],
    ),
    "saga_engine.broken:key_of_attempt": Told(
        "idempotent",
        "with another idempotency key each time (o1/1 and o1/2)",
        [Crash(Site("orchestrator.on_order/bank.charge", "after"))],
        claimed=False,
    ),
    "saga_engine.broken:two_orchestrators_resume": Told(
        "stock is conserved",
        (
            "orchestrator#1 went on with o1 under lease 1 (charge done, by orchestr"
            "ator.on_order), when lease 3 had been given out for it 25 min before"
        ),
        [Pause(Site("orchestrator.on_order/saga-db.commit", "after"), lasting=1620000)],
    ),
    "saga_engine.broken:refunds_the_unknown": Told(
        "idempotent",
        (
            "got no answer to bank.charge, so it did not know whether it had happen"
            "ed (it had not). It went on all the same"
        ),
        [LostRequest(Site("orchestrator.on_order/bank.charge"))],
        claimed=False,
    ),
    "saga_engine.broken:branch_succeeds_after_compensation": Told(
        "money is conserved",
        "o2 was over (saga compensated) at 23 ms, while bank.charge was still to come",
        [ErrorReply(Site("payment.on_command/bank.charge"))],
    ),
    "step_functions.broken:last_state_not_caught": Told(
        "money is conserved",
        ("bank.charge was done, then o2 was over (execution failed): nobody asked for bank.refund"),
        [Pause(Site("shipping.ship/courier.ship", "after"))],
        items=(1,),
    ),
    "step_functions.broken:timeout_not_retried": Told(
        "idempotent",
        "o1 was over (execution failed) at 30 s, while bank.charge was still to come",
        [Delay(Site("order.Charge/charge"), lasting=33000)],
        items=(0,),
        claimed=False,
    ),
    "step_functions.broken:key_of_attempt": Told(
        "idempotent",
        "asks for bank.charge 2 times, with another idempotency key each time",
        [Delay(Site("payments.charge/bank.charge"), lasting="timeout")],
        items=(0,),
        claimed=False,
    ),
    "step_functions.broken:key_drawn_in_an_express_workflow": Told(
        "idempotent",
        "asks for bank.charge 2 times, with another idempotency key each time",
        [Duplicate(Site("order/run"))],
        items=(0,),
        claimed=False,
    ),
    "step_functions.broken:starts_what_it_does_not_see": Told(
        "idempotent",
        "asks for bank.charge 2 times, with another idempotency key each time (o1 and o1-again)",
        [Delay(Site("order/describe"), lasting="timeout")],
        items=(0,),
        claimed=False,
    ),
    "temporal.broken:never_refunds": Told(
        "money is conserved",
        ("orders.ship failed, and o2 was over (workflow failed): nothing was asked for after that"),
        [],
        items=(1,),
    ),
    "temporal.broken:key_of_attempt": Told(
        "idempotent",
        "with another idempotency key each time (o1-1 and o1-2)",
        [Delay(Site("orders.charge/bank.charge"))],
        items=(0,),
        claimed=False,
    ),
    "temporal.account:sends_under_another_id": Told(
        "idempotent",
        ("accounts.book asks for bank.charge 2 times, with another idempotency key each time"),
        [Delay(Site("client.receive/temporal.execute_multi_operation"), lasting="timeout")],
        items=(0,),
    ),
    "temporal.account:books_without_a_key": Told(
        "idempotent",
        "asks for bank.charge 2 times, and no request carries an idempotency key",
        [Delay(Site("accounts.book/bank.charge"))],
        items=(0,),
        slow=True,
    ),
    "styles.broken:choreography": Told(
        "never twice: bank.charge",
        (
            "payment.on_order asks for bank.charge 2 times, and no request carries "
            "an idempotency key"
        ),
        [Delay(Site("payment.on_order/bank.charge"), lasting="timeout")],
        items=(0,),
    ),
    "styles.broken:orchestration": Told(
        "never twice: bank.charge",
        (
            "payment.on_command asks for bank.charge 2 times, and no request carrie"
            "s an idempotency key"
        ),
        [Delay(Site("payment.on_command/bank.charge"), lasting="timeout")],
        items=(0,),
    ),
    "styles.broken:hybrid": Told(
        "never twice: bank.charge",
        (
            "payment.on_command asks for bank.charge 2 times, and no request carrie"
            "s an idempotency key"
        ),
        [Delay(Site("payment.on_command/bank.charge"), lasting="timeout")],
        items=(0,),
    ),
    "questions.cycle:each_change_is_news": Told(
        "no event cycle",
        "Each message of this circle brings forth the next one: tier → points → tier",
        [],
    ),
    "questions.crash_after_charge:asks_before_it_charges": Told(
        "idempotent",
        "asks for bank.charge 2 times, and nothing in it tells bank that it is the same",
        [Delay(Site("payments.on_placed/bank.charge"), lasting=27000)],
    ),
    "questions.crash_after_charge:charges_again": Told(
        "idempotent",
        "asks for bank.charge 2 times, and nothing in it tells bank that it is the same",
        [Delay(Site("payments.on_placed/bank.charge"), lasting=27000)],
    ),
    "questions.refund:stock_tells_nobody": Told(
        "idempotent",
        "was refused bus.publish out-of-stock for now, did not raise, and returned",
        [ErrorReply(Site("stock.on_paid/bus.publish out-of-stock"))],
        items=(1,),
    ),
    "questions.join:counts_in_memory": Told(
        "idempotent",
        (
            "o1 from paid went to join#1 and o1 from reserved to join#2, and neithe"
            "r wrote down what it had"
        ),
        [Rebalance(Site("bus.reserved/deliver to join"))],
        items=(0,),
        claimed=False,
    ),
    "questions.join:waits_for_ever": Told(
        "joins into confirmed are complete",
        "and nobody sent the other half. Nothing was due any more",
        [],
        items=(1,),
    ),
    "questions.call_chain:each_asks_the_next": Told(
        "no call chain in disguise",
        (
            "Each handler from credit.on_order on hands on to one other, and to nob"
            "ody else, as far as stock"
        ),
        [],
    ),
    "questions.fan_out:one_dispatcher_calls_them_all": Told(
        "side effects never touch the critical path",
        "dispatcher.on_placed waits for mail.placed before it goes on",
        [Delay(Site("mail.on_placed/post.send"))],
    ),
    "questions.step_between:both_listen_to_paid": Told(
        "cleared before it ships",
        (
            "o1 from paid goes to shipping.on_ready and to clearance.on_paid alike,"
            " and nothing makes the one wait for the other"
        ),
        [ErrorReply(Site("clearance.on_paid/customs.clear"))],
    ),
    "protocols.broadcast:simple_broadcast": Told(
        "all that live get it or none does",
        "is refused at c.deliver for item 1 (hello): it does not happen",
        [LostRequest(Site("a.broadcast/c.deliver"))],
    ),
    "protocols.broadcast:retry_broadcast": Told(
        "all that live get it or none does",
        "crashes before c.deliver for item 1 (hello)",
        [Crash(Site("a.broadcast/c.deliver"))],
    ),
    "protocols.broadcast:classic_broadcast": Told(
        "all that live get it or none does",
        "b is refused at c.deliver for item 1 (hello): it does not happen",
        [LostRequest(Site("a.broadcast/c.deliver")), LostRequest(Site("b.deliver/c.deliver"))],
    ),
    "protocols.commit:two_phase": Told(
        "all that voted and live decide",
        "coordinator crashes before a.conclude",
        [Crash(Site("coordinator.begin/a.conclude"))],
    ),
    "protocols.commit:cooperative_two_phase": Told(
        "all that voted and live decide",
        "coordinator crashes before a.conclude",
        [Crash(Site("coordinator.begin/a.conclude"))],
    ),
    "protocols.three_phase:three_phase": Told(
        "no two decide differently",
        "coordinator crashes before d.make_ready",
        [Crash(Site("coordinator.begin/d.make_ready"))],
    ),
    "protocols.three_phase:three_phase_that_asks": Told(
        "no two decide differently",
        ("coordinator crashes before b.make_ready for item 1 (t1). b is refused at a.inquire"),
        [LostRequest(Site("b.prepare/a.inquire")), Crash(Site("coordinator.begin/b.make_ready"))],
    ),
    "protocols.replication:replication": Told(
        "what was acknowledged is kept",
        "is refused at b.store for item 1: it does not happen. A is refused at c.store",
        [
            LostRequest(Site("a.write/b.store")),
            LostRequest(Site("a.write/c.store")),
            Crash(Site("a.write/handle", "after", attempt=2)),
        ],
    ),
    "step_functions.broken:branch_succeeds_after_compensation": Told(
        "money is conserved",
        "asked for bank.refund when there was nothing to undo yet; bank.charge came through",
        [Delay(Site("payments.charge/bank.charge"), lasting="timeout")],
        items=(1,),
    ),
    "temporal.broken:branch_succeeds_after_compensation": Told(
        "money is conserved",
        "asked for bank.refund when there was nothing to undo yet; bank.charge came through",
        [Delay(Site("orders.charge/bank.charge"))],
        items=(1,),
    ),
    "temporal.broken:heartbeat_timeout_while_it_runs": Told(
        "idempotent",
        "asks for bank.charge 2 times, with another idempotency key each time (o1-1 and o1-2)",
        [Delay(Site("orders.charge_unless_there/bank.charge"), lasting="timeout")],
        items=(0,),
        claimed=False,
        slow=True,
    ),
    "temporal.broken:remembers_in_its_module": Told(
        "never stuck",
        "raises Nondeterminism: the history has TIMER_STARTED (event 5), and the workflow commands",
        [Pause(Site("orders.OrderSaga/store decision", attempt=2))],
        items=(0,),
        claimed=False,
    ),
    "temporal.broken:undoes_the_unknown": Told(
        "idempotent",
        (
            "never got an answer to bank.charge, so nobody knew whether it had happened "
            "(it had not yet). orders.refund asked for bank.refund all the same"
        ),
        [Delay(Site("orders.charge/bank.charge"))],
        items=(0,),
        claimed=False,
    ),
    "step_functions.broken:undoes_the_unknown": Told(
        "idempotent",
        (
            "never got an answer to bank.charge, so nobody knew whether it had happened "
            "(it had not yet). payments.refund asked for bank.refund all the same"
        ),
        [Delay(Site("payments.charge/bank.charge"), lasting=11000)],
        items=(0,),
        claimed=False,
    ),
    "temporal.broken:deployed_without_a_patch": Told(
        "never stuck",
        "One version of orders began with o1, and the other went on with it",
        [Redeploy(Site("orders.OrderSaga/decide", attempt=2))],
        items=(0,),
        claimed=False,
    ),
    "step_functions.broken:function_changed_with_its_definition": Told(
        "money is conserved",
        "o2 began under the other definition of order, and the code that went on with it is made "
        "for this one: payments.refund raises KeyError: 'receipt' (21 times)",
        [Redeploy(Site("order/begin"))],
        items=(1,),
    ),
    "conductor.broken:worker_gone_with_its_task": Told(
        "never stuck",
        "o1 began under the other definition of order, and nobody does what that one asks for: "
        "it schedules task charge, and nothing comes of it",
        [Redeploy(Site("conductor.order/begin"))],
        items=(0,),
        claimed=False,
    ),
    "airflow.broken:task_renamed_amid_a_run": Told(
        "money is conserved",
        "o2 went on under the other definition of order, and the code that went on with it is made "
        "for this one",
        [Redeploy(Site("order.refund/queue"))],
        items=(1,),
    ),
    "saga_engine.broken:compensated_out_of_order": Told(
        "compensation in reverse order",
        "o2 did charge done before reserve done, and undid charge done first",
        [],
        in_finding=True,
    ),
    "temporal.broken:compensated_out_of_order": Told(
        "compensation in reverse order",
        "o3 did charge before ship, and undid charge first",
        [],
        in_finding=True,
    ),
    "step_functions.broken:compensated_out_of_order": Told(
        "compensation in reverse order",
        "o3 did charge before ship, and undid charge first",
        [],
        in_finding=True,
    ),
    "conductor.broken:compensated_out_of_order": Told(
        "compensation in reverse order",
        "o3 did charge before ship, and undid charge first",
        [],
        in_finding=True,
    ),
    "airflow.broken:compensated_out_of_order": Told(
        "compensation in reverse order",
        "o3 did charge before ship, and undid charge first",
        [],
        in_finding=True,
    ),
    "step_functions.broken:compensation_forgotten": Told(
        "idempotent",
        "ends as given up, and yet courier.ship(item=vase, order=o3) stands",
        [],
        claimed=False,
        in_finding=True,
    ),
    "conductor.broken:compensation_forgotten": Told(
        "idempotent",
        "ends as given up, and yet courier.ship(item=vase, order=o3) stands",
        [],
        claimed=False,
        in_finding=True,
    ),
    "airflow.broken:compensation_forgotten": Told(
        "idempotent",
        "ends as given up, and yet courier.ship(item=vase, order=o3) stands",
        [],
        claimed=False,
        in_finding=True,
    ),
    "temporal.broken:compensation_forgotten": Told(
        "money is conserved",
        "money of o3 does not add up, 900 missing: 900 shipped, 0 kept",
        [],
        in_finding=True,
    ),
    "saga_engine.broken:compensation_forgotten": Told(
        "money is conserved",
        "money of o2 does not add up, 700 too much: 0 shipped, 700 kept",
        [],
        in_finding=True,
    ),
    "saga_engine.broken:decides_by_the_clock": Told(
        "never stuck",
        "saga o1 cannot go on: it does not ask for 'stamp' any more, which its journal has",
        [ErrorReply(Site("orchestrator.on_order/bank.charge"))],
        claimed=False,
        in_finding=True,
    ),
    "saga_engine.broken:raises_when_it_is_refused": Told(
        "never stuck",
        "saga o2 cannot go on: its code raised KeyError: 'other_courier' at models/",
        [],
        claimed=False,
        in_finding=True,
    ),
    "saga_engine.broken:list_changed_under_its_name": Told(
        "never stuck",
        "saga o1 cannot go on: 'stamp' comes before 'ship' now, which its journal has",
        [
            Redeploy(Site("orchestrator/start", entity=0)),
            Crash(Site("orchestrator.on_order/courier.ship", "after")),
        ],
        claimed=False,
        in_finding=True,
    ),
}
