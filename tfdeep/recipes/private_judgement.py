"""How well a private net does, and what its losses say of who was seen."""


def judged(net, train, test, plan):
    """The error on data that was not seen, and what an attack can show.

    The attack tells members of the training data from others by their losses.
    """
    from tfdeep.privacy import audit

    (members, _), (others, error) = (losses_of(net, *d) for d in (train, test))
    report = audit.membership(members, others, plan.delta, plan.epsilon)
    bound = report["epsilon from losses"].measured
    return {"test_error": error, "audited_epsilon": bound}


def losses_of(net, images, labels, rows=500):
    """The loss of each image, and the part that is told wrong."""
    import numpy as np
    from keras import ops

    scores = np.concatenate(
        [
            ops.convert_to_numpy(net(images[at : at + rows], training=False))
            for at in range(0, len(images), rows)
        ]
    )
    losses = ops.sparse_categorical_crossentropy(
        labels, ops.convert_to_tensor(scores), from_logits=True
    )
    wrong = np.mean(scores.argmax(axis=1) != labels)
    return ops.convert_to_numpy(losses), float(wrong)
