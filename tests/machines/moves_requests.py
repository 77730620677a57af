"""What was asked of SQS about moving dead letters back, by entry. Facts, in our words."""

from tests.machines.sqs_requests import arn

MOVES = {}


def asked(*entries):
    """Say which entries a function asks for."""

    def add(function):
        MOVES.update(dict.fromkeys(entries, function))
        return function

    return add


def dead(aws, count):
    """A queue of so many dead letters, and where they died."""
    queue, letters = aws.letters(1)
    for n in range(count):
        aws.send(queue, f"message-{n}")
    for _ in range(2 * count):
        aws.receive(queue, VisibilityTimeout=0)
    return queue, letters


def tasks(aws, letters):
    return aws("ListMessageMoveTasks", SourceArn=arn(letters))


@asked("test_cancel_with_invalid_task_handle")
def no_handle(aws):
    aws.see("error", aws("CancelMessageMoveTask", TaskHandle="foobared"))


@asked("test_cancel_with_invalid_source_arn_in_task_handle")
def no_source(aws):
    aws.see("error", aws("CancelMessageMoveTask", TaskHandle="nowhere#1"))


@asked("test_cancel_with_invalid_task_id_in_task_handle")
def no_task(aws):
    aws.queue("there")
    aws.see("error", aws("CancelMessageMoveTask", TaskHandle="there#7"))


@asked("test_source_needs_redrive_policy")
def no_dead_letters(aws):
    given = {"SourceArn": arn(aws.queue()), "DestinationArn": arn(aws.queue())}
    aws.see("error", aws("StartMessageMoveTask", **given))


@asked("test_destination_needs_to_exist")
def no_destination(aws):
    _, letters = aws.letters(1)
    given = {"SourceArn": arn(letters), "DestinationArn": arn(aws.queue()) + "doesntexist"}
    aws.see("error", aws("StartMessageMoveTask", **given))


@asked("test_basic_move_task_workflow")
def to_another_queue(aws):
    _, letters = dead(aws, 2)
    given = {"SourceArn": arn(letters), "DestinationArn": arn(aws.queue())}
    aws.see("start-message-move-task-response", aws("StartMessageMoveTask", **given))
    aws.wait(5_000)
    aws.see("list-message-move-task-response", tasks(aws, letters))


@asked("test_move_task_workflow_with_default_destination")
def to_where_it_died(aws):
    queue, letters = dead(aws, 2)
    aws.see("source-arn", arn(letters))
    aws.see("original-source", arn(queue))
    started = aws("StartMessageMoveTask", SourceArn=arn(letters))
    aws.see("start-message-move-task-response", started)
    aws.wait(5_000)
    aws.see("list-message-move-task-response", tasks(aws, letters))
    assert len(aws.receive(queue, MaxNumberOfMessages=10)["Messages"]) == 2


@asked("test_move_task_workflow_with_multiple_sources_as_default_destination")
def to_where_each_died(aws):
    first, letters = dead(aws, 2)
    policy = aws.attributes(first)["Attributes"]["RedrivePolicy"]
    second = aws.queue(RedrivePolicy=policy)
    for body in ("message-3", "message-4"):
        aws.send(second, body)
    for _ in range(4):
        aws.receive(second, VisibilityTimeout=0)
    aws.see("source-arn", arn(letters))
    aws.see("original-source-1", arn(first))
    aws.see("original-source-2", arn(second))
    started = aws("StartMessageMoveTask", SourceArn=arn(letters))
    aws.see("start-message-move-task-response", started)
    aws.wait(5_000)
    aws.see("list-message-move-task-response", tasks(aws, letters))
    for queue in (first, second):
        assert len(aws.receive(queue, MaxNumberOfMessages=10)["Messages"]) == 2


@asked("test_move_task_with_throughput_limit")
def so_many_a_second(aws):
    _, letters = dead(aws, 4)
    given = {"SourceArn": arn(letters), "DestinationArn": arn(aws.queue())}
    started = aws("StartMessageMoveTask", MaxNumberOfMessagesPerSecond=1, **given)
    aws.see("start-message-move-task-response", started)


@asked("test_move_task_cancel")
def a_task_is_cancelled(aws):
    _, letters = dead(aws, 10)
    given = {"SourceArn": arn(letters), "DestinationArn": arn(aws.queue())}
    task = aws("StartMessageMoveTask", MaxNumberOfMessagesPerSecond=1, **given)
    aws.wait(2_000)
    aws.see("list-while", tasks(aws, letters))
    aws.see("cancel", aws("CancelMessageMoveTask", TaskHandle=task["TaskHandle"]))
    aws.wait(5_000)
    aws.see("list-after", tasks(aws, letters))
    assert aws.receive(letters)["Messages"]


@asked("test_move_task_delete_destination_queue_while_running")
def the_destination_goes(aws):
    _, letters = dead(aws, 10)
    to = aws.queue()
    given = {"SourceArn": arn(letters), "DestinationArn": arn(to)}
    aws("StartMessageMoveTask", MaxNumberOfMessagesPerSecond=1, **given)
    aws("DeleteQueue", to)
    aws.wait(5_000)
    aws.see("list", tasks(aws, letters))
    assert aws.receive(letters)["Messages"]


@asked("test_start_multiple_move_tasks")
def two_tasks(aws):
    _, letters = dead(aws, 2)
    given = {"SourceArn": arn(letters), "DestinationArn": arn(aws.queue())}
    aws("StartMessageMoveTask", **given)
    aws.see("error", aws("StartMessageMoveTask", **given))
